package cli

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

// printed is what docs/CLI.md says that a command prints with -o json.
type printed struct {
	def   string
	lines bool // one on each line
}

// documented reads the table of docs/CLI.md, by command.
func documented(t *testing.T) map[string]printed {
	t.Helper()
	data, err := os.ReadFile("../../../docs/CLI.md")
	must(t, err)
	table := map[string]printed{}
	_, text, _ := strings.Cut(string(data), "| command | prints |\n")
	for line := range strings.Lines(text) {
		m := regexp.MustCompile("^\\| `([^`]+)` \\| `(\\w+)`(.*) \\|\n$").FindStringSubmatch(line)
		if m != nil {
			table[m[1]] = printed{m[2], strings.Contains(m[3], "one on each line")}
		} else if !strings.HasPrefix(line, "|---") {
			break
		}
	}
	return table
}

// Every command prints with -o json what docs/CLI.md says, in the form that
// docs/api.schema.json describes; every command that prints anything is there.
func TestJSONIsAsDocumented(t *testing.T) {
	schema, err := apitest.ReadSchema("../../../docs/api.schema.json")
	must(t, err)
	s, fake := shellWithPorts(t, counters())
	fake.Before = advancing(fake, make(chan struct{}, 100))
	s.machine = Machine{
		Attach: func(_ context.Context, _ config.Attach, tell api.Announcer) error {
			tell.Chosen(plan())
			status, err := fake.Status(t.Context())
			tell.Ready(status)
			tell.Notice("eth0: it is down")
			return err
		},
		Plan: func(context.Context, config.Attach) (api.Plan, error) { return plan(), nil },
	}
	s.files["ports.toml"] = "port = []\n"
	table := documented(t)
	for _, c := range []struct{ command, args string }{
		{"attach", "attach eth0"}, {"attach --dry-run", "attach eth0 --dry-run"}, {"version", "version"}, {"ls", "ls"},
		{"stats", "stats"}, {"top", "top --interval 10ms --count 2"}, {"add", "add c --ip 10.0.0.3/24 --netns c"},
		{"add", "add d --ip 10.0.0.4/24 --kind memif"}, {"ls", "ls"}, {"set", "set c --mtu 1400"}, {"del", "del c"},
		{"apply", "apply -f ports.toml --dry-run"}, {"apply", "apply -f ports.toml"}, {"ls", "ls"}, {"stats", "stats"}, {"detach", "detach eth0"},
	} {
		want, ok := table[c.command]
		if !ok {
			t.Errorf("docs/CLI.md does not say what %s prints", c.command)
		}
		out := s.ok(t, append(strings.Fields(c.args), "-o", "json")...)
		values := []string{out}
		if want.lines {
			values = slices.Collect(strings.Lines(out))
		}
		for _, v := range values {
			if err := schema.Check(want.def, []byte(v)); err != nil {
				t.Errorf("%s: %v: %s", c.args, err, v)
			}
		}
	}
}

// No command that could print something is missing from docs/CLI.md.
func TestJSONOfEveryCommand(t *testing.T) {
	table := documented(t)
	a := &app{env: Env{Getenv: func(string) string { return "" }}, flags: map[string]string{}}
	for _, cmd := range a.root().Commands() {
		if _, ok := table[cmd.Name()]; !ok && cmd.Name() != "help" && cmd.Name() != "completion" {
			t.Errorf("docs/CLI.md does not say what %s -o json prints", cmd.Name())
		}
	}
}
