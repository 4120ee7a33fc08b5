package config

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// world is where settings come from in a test.
type world struct {
	env   map[string]string
	files map[string]string
	flags map[string]string
	file  string
}

func (w world) load() (Attach, error) {
	return Load(Sources{
		Flags:  w.flags,
		Getenv: func(key string) string { return w.env[key] },
		ReadFile: func(path string) ([]byte, error) {
			text, ok := w.files[path]
			switch {
			case !ok:
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			case text == "secret":
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			return []byte(text), nil
		},
		File: w.file,
	})
}

// three values that a setting can have and that are not its default.
func values(s Setting) (file, env, flag string) {
	switch s.Type() {
	case "int":
		return "11", "12", "13"
	case "bool":
		return "true", "false", "true"
	}
	return `"in-file"`, "in-env", "in-flag"
}

// Flag over environment over file over default, for every setting there is.
func TestPrecedence(t *testing.T) {
	for _, s := range Settings() {
		t.Run(s.Key, func(t *testing.T) {
			file, env, flag := values(s)
			defaults := Defaults()
			for n, c := range []struct {
				w    world
				want string
			}{
				{world{}, s.Value(&defaults)},
				{world{files: map[string]string{DefaultFile: s.Key + " = " + file}}, strings.Trim(file, `"`)},
				{world{files: map[string]string{DefaultFile: s.Key + " = " + file}, env: map[string]string{s.Env(): env}}, env},
				{world{files: map[string]string{DefaultFile: s.Key + " = " + file}, env: map[string]string{s.Env(): env},
					flags: map[string]string{s.Key: flag}}, flag},
				{world{env: map[string]string{s.Env(): env}}, env},
				{world{flags: map[string]string{s.Key: flag}}, flag},
			} {
				a, err := c.w.load()
				if err != nil || s.Value(&a) != c.want {
					t.Errorf("case %d: got %q, %v, want %q", n, s.Value(&a), err, c.want)
				}
				if c.want != s.Value(&defaults) && a == Defaults() {
					t.Errorf("case %d: nothing changed", n)
				}
			}
		})
	}
}

func TestNamesOfASetting(t *testing.T) {
	for _, s := range Settings() {
		if s.Key == "run_dir" && (s.Flag() != "run-dir" || s.Env() != "XDPDEMUX_RUN_DIR" || s.Bool()) {
			t.Errorf("%s, %s, %v", s.Flag(), s.Env(), s.Bool())
		}
		if s.Usage == "" || strings.HasSuffix(s.Usage, ".") {
			t.Errorf("%s: usage %q", s.Key, s.Usage)
		}
	}
}

func TestWhichFile(t *testing.T) {
	files := map[string]string{DefaultFile: "queues = 1", "/env.toml": "queues = 2", "/flag.toml": "queues = 3"}
	env := map[string]string{"XDPDEMUX_CONFIG": "/env.toml"}
	for want, w := range map[int]world{
		0: {},
		1: {files: files},
		2: {files: files, env: env},
		3: {files: files, env: env, file: "/flag.toml"},
	} {
		if a, err := w.load(); err != nil || a.Queues != want {
			t.Errorf("%d, %v, want %d", a.Queues, err, want)
		}
	}
}

func TestBadSources(t *testing.T) {
	file := func(text string) world { return world{file: "/x.toml", files: map[string]string{"/x.toml": text}} }
	for name, c := range map[string]struct {
		w    world
		want string
		code api.Code
	}{
		"no such file":       {world{file: "/x.toml"}, "/x.toml", api.CodeUsage},
		"no such file, env":  {world{env: map[string]string{"XDPDEMUX_CONFIG": "/x.toml"}}, "/x.toml", api.CodeUsage},
		"unreadable":         {file("secret"), "/x.toml", api.CodePermission},
		"unreadable default": {world{files: map[string]string{DefaultFile: "secret"}}, DefaultFile, api.CodePermission},
		"unknown key":        {file("mode = \"auto\"\n# qeues = 1\n\nqeues = 2\n"), `/x.toml line 4: there is no setting "qeues"`, api.CodeUsage},
		"key in capitals":    {file("Mode = \"auto\"\n"), `line 1: there is no setting "Mode"`, api.CodeUsage},
		"unknown table":      {file("queues = 1\n[daemon]\nname = 1\n"), `line 2: there is no setting "daemon"`, api.CodeUsage},
		"syntax":             {file("queues = 1\nqueues 2\n"), "/x.toml line 2", api.CodeUsage},
		"key twice":          {file("queues = 1\nqueues = 2\n"), "/x.toml line 2", api.CodeUsage},
		"string for int":     {file("queues = \"2\"\n"), "line 1: queues: 2 is no whole number", api.CodeUsage},
		"float for int":      {file("queues = 2.5\n"), "no whole number", api.CodeUsage},
		"int for string":     {file("mode = 2\n"), "line 1: mode: 2 is no string", api.CodeUsage},
		"int for bool":       {file("no_host_port = 1\n"), "line 1: no_host_port: 1 is neither true nor false", api.CodeUsage},
		"environment":        {world{env: map[string]string{"XDPDEMUX_QUEUES": "two"}}, `environment variable XDPDEMUX_QUEUES: "two" is no whole number`, api.CodeUsage},
		"environment bool":   {world{env: map[string]string{"XDPDEMUX_NO_HOST_PORT": "maybe"}}, `"maybe" is neither true nor false`, api.CodeUsage},
		"flag":               {world{flags: map[string]string{"queues": "x"}}, "flag --queues", api.CodeUsage},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.w.load()
			if err == nil || !strings.Contains(err.Error(), c.want) || api.CodeOf(err) != c.code {
				t.Errorf("got %v (%s), want %q (%s)", err, api.CodeOf(err), c.want, c.code)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	d := Defaults()
	if err := d.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, change := range map[string]func(*Attach){
		"ring-size 1000: it is no power of two":          func(a *Attach) { a.RingSize = 1000 },
		"ring-size 0: it is no power of two":             func(a *Attach) { a.RingSize = 0 },
		"ring-size -2048: it is no power of two":         func(a *Attach) { a.RingSize = -2048 },
		"ring-size 32: it is out of range":               func(a *Attach) { a.RingSize = 32 },
		"ring-size 65536: it is out of range":            func(a *Attach) { a.RingSize = 65536 },
		"frame-size 3000: it is no power of two":         func(a *Attach) { a.FrameSize = 3000 },
		"frame-size 8192: the kernel takes no such size": func(a *Attach) { a.FrameSize = 8192 },
		`mode "xdp": there is no such mode`:              func(a *Attach) { a.Mode = "xdp" },
		`zero-copy "": there is no such choice`:          func(a *Attach) { a.ZeroCopy = "" },
		"queues -1":                                      func(a *Attach) { a.Queues = -1 },
		"queues 1025":                                    func(a *Attach) { a.Queues = 1025 },
		"workers 65":                                     func(a *Attach) { a.Workers = 65 },
		"max-ports 0":                                    func(a *Attach) { a.MaxPorts = 0 },
		"max-ports 65535":                                func(a *Attach) { a.MaxPorts = 65535 },
		`wire-checksum "on": there is no such choice`:    func(a *Attach) { a.WireChecksum = "on" },
		"busy-poll -1":                                   func(a *Attach) { a.BusyPoll = -1 },
		"busy-poll-budget 0":                             func(a *Attach) { a.BusyPollBudget = 0 },
		"run-dir: it is empty":                           func(a *Attach) { a.RunDir = "" },
		"state-dir: it is empty":                         func(a *Attach) { a.StateDir = "" },
		`interface name "a/b"`:                           func(a *Attach) { a.NIC = "a/b" },
	} {
		a := Defaults()
		change(&a)
		if err := a.Validate(); api.CodeOf(err) != api.CodeUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
