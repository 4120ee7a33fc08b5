package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/portset"
)

const tomlPorts = `
# two containers
[[port]]
name    = "web1"
ip      = ["10.0.0.5/24", "2001:db8::5/64"]
gateway = "10.0.0.1"
netns   = "web1"

[[port]]
name     = "router"
ips      = "10.0.0.6/24"
prefixes = ["10.1.0.0/24"]
mac      = "02:00:00:00:00:06"
vlan     = 20
netns    = "/proc/7/ns/net"
ifname   = "eth1"
mtu      = 9000
depth    = 4096
no_source_check = true

[[port]]
name        = "fast"
kind        = "memif"
ip          = "10.0.0.7/24"
rings       = 2
ring_size   = 512
buffer_size = 4096
secret_file = "/secret"
uid         = 65534
gid         = 65533
allow_unsealed = true

[[port]]
name     = "abstract"
kind     = "memif"
ip       = "10.0.0.8/24"
abstract = "of-fast"
`

// readSecret is what secret files are read with.
func readSecret(path string) ([]byte, error) {
	switch path {
	case "/secret":
		return []byte("s3cret\n"), nil
	case "/empty":
		return []byte("\n"), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

const jsonPorts = `{"ports": [
 {"name": "web1", "ips": ["10.0.0.5/24", "2001:db8::5/64"], "gateways": ["10.0.0.1"], "netns": "web1"},
 {"name": "router", "ip": "10.0.0.6/24", "prefix": "10.1.0.0/24", "mac": "02:00:00:00:00:06", "vlan": 20,
  "netns": "/proc/7/ns/net", "ifname": "eth1", "mtu": 9000, "depth": 4096, "no_source_check": true},
 {"name": "fast", "kind": "memif", "ip": "10.0.0.7/24", "rings": 2, "ring_size": 512, "buffer_size": 4096, "secret": "s3cret",
  "uid": 65534, "gid": 65533, "allow_unsealed": true},
 {"name": "abstract", "kind": "memif", "ip": "10.0.0.8/24", "abstract": "of-fast"}
]}`

func TestBothForms(t *testing.T) {
	fromTOML, err := ReadPorts("f.toml", []byte(tomlPorts), readSecret)
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, err := ReadPorts("-", []byte(jsonPorts), readSecret)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromTOML, fromJSON) {
		t.Errorf("TOML %+v\nJSON %+v", fromTOML, fromJSON)
	}
	router := fromTOML[1]
	if len(fromTOML) != 4 || router.VLAN != 20 || router.MTU != 9000 || router.IfName != "eth1" || !router.NoSourceCheck ||
		router.Prefixes[0].String() != "10.1.0.0/24" || router.MAC.String() != "02:00:00:00:00:06" || router.Depth != 4096 {
		t.Errorf("%+v", router)
	}
	if fast, want := fromTOML[2], (api.MemifSpec{Rings: 2, RingSize: 512, BufferSize: 4096, Secret: "s3cret", UID: 65534, GID: 65533,
		AllowUnsealed: true}); fast.MemifSpec != want || fast.IfName != "" {
		t.Errorf("%+v", fast)
	}
	if a := fromTOML[3]; a.Abstract != "of-fast" || a.Rings != 1 || a.RingSize != 1024 || a.BufferSize != 2048 {
		t.Errorf("%+v", a)
	}
	if web := fromTOML[0]; web.Kind != api.KindTAP || web.IfName != "eth0" || web.Gateways[0].String() != "10.0.0.1" {
		t.Errorf("%+v", web)
	}
}

// What the API prints as specs is a file for apply.
func TestAPIFormIsAFile(t *testing.T) {
	specs, err := ReadPorts("f.toml", []byte(tomlPorts), readSecret)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(api.ApplyRequest{Ports: specs}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadPorts("f.json", data, readSecret)
	if err != nil || !reflect.DeepEqual(back, specs) {
		t.Errorf("%v\n%+v\n%+v", err, back, specs)
	}
}

func TestBadFiles(t *testing.T) {
	const head = "[[port]]\nname = \"a\"\nip = \"10.0.0.5/24\"\nnetns = \"a\"\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "it lists no ports; to remove every port, say port = []"},
		"comment only":      {"# nothing\n", "lists no ports"},
		"other key":         {"prot = []\n", `f line 1: "prot" is no list of ports`},
		"other table":       {head + "[[prot]]\nname = \"b\"\n", `f line 5: "prot" is no list`},
		"both keys":         {"ports = []\nport = []\n", "is no list of ports"},
		"not a list":        {"port = 3\n", "no list of ports"},
		"single table":      {"[port]\nname = \"a\"\n", "no list of ports"},
		"list of numbers":   {"port = [1]\n", "f entry 1: this is no table"},
		"TOML syntax":       {head + "[[port]\n", "f line "},
		"JSON syntax":       {"{\n\"ports\": [\n}", "f line 3"},
		"JSON cut off":      {`{"ports": [`, "f line 1"},
		"JSON and more":     {`{"ports": []} x`, "something stands behind"},
		"bad CIDR":          {head + "\n[[port]]\nname = \"b\"\nip = \"10.0.0.300/24\"\n", `f line 6: port b: address "10.0.0.300/24": this is no CIDR`},
		"network address":   {strings.Replace(head, ".5/", ".0/", 1), "f line 1: port a: address 10.0.0.0/24: it names the network"},
		"multicast":         {strings.Replace(head, "10.0.0.5", "224.0.0.5", 1), "multicast"},
		"unknown key":       {head + "colour = \"red\"\n", `f line 1: unknown field "colour"`},
		"no name":           {"[[port]]\nip = \"10.0.0.5/24\"\nnetns = \"a\"\n", "f line 1: port: the name is missing"},
		"wrong type":        {head + "mtu = \"big\"\n", "f line 1: mtu: string where a whole number belongs"},
		"fraction":          {head + "mtu = 1.5\n", "f line 1: mtu: number 1.5 where a whole number belongs"},
		"VLAN":              {head + "vlan = 4095\n", "f line 1: port a: VLAN 4095: it is out of range"},
		"VLAN negative":     {head + "vlan = -1\n", "VLAN -1: it is out of range"},
		"VLAN huge":         {head + "vlan = 70000\n", "VLAN 70000: it is out of range"},
		"MAC":               {head + "mac = \"x\"\n", `MAC address "x"`},
		"MAC zero":          {head + "mac = \"00:00:00:00:00:00\"\n", "it is all zero"},
		"gateway":           {head + "gateway = \"x\"\n", `gateway "x": this is no address`},
		"prefix":            {head + "prefix = \"10.1.0.1/24\"\n", "host bits"},
		"short and long":    {head + "ips = [\"10.0.0.6/24\"]\n", "ips is there twice"},
		"kind":              {head + "kind = \"veth\"\n", "no such kind"},
		"ifname":            {head + "ifname = \"abcdefghijklmnop\"\n", "16 bytes are too long"},
		"relative netns":    {strings.Replace(head, "netns = \"a\"", "netns = \"./a\"", 1), "relative path"},
		"name twice":        {head + head, "f line 5: port a: the name is there twice"},
		"address twice":     {head + strings.NewReplacer(`name = "a"`, `name = "b"`, `netns = "a"`, `netns = "b"`).Replace(head), "f line 5: port b: 10.0.0.5/32 belongs to port a"},
		"JSON bad entry":    {`{"ports": [{"name": "a", "ips": ["10.0.0.5/24"], "netns": "a"}, {"name": "b", "ips": ["x"]}]}`, `f entry 2: port b: address "x"`},
		"JSON status field": {`{"ports": [{"name": "a", "state": "ready"}]}`, `f entry 1: unknown field "state"`},
		"secret twice":      {head + "secret = \"a\"\nsecret_file = \"/secret\"\n", "f line 1: port a: secret: it is given, and a file of it as well"},
		"no secret":         {head + "secret_file = \"/nowhere\"\n", "f line 1: port a: secret: open /nowhere: file does not exist"},
		"empty secret":      {head + "secret_file = \"/empty\"\n", "secret: /empty is empty"},
		"rings of a tap":    {head + "rings = 2\n", "f line 1: port a: rings: only a port of kind memif has it"},
		"netns of a memif":  {head + "kind = \"memif\"\n", "f line 1: port a: netns: a port of kind memif has no interface"},
		"abstract twice": {`{"ports": [{"name": "a", "kind": "memif", "ip": "10.0.0.5/24", "abstract": "x"}, {"name": "b", "kind": "memif", "ip": "10.0.0.6/24", "abstract": "x"}]}`,
			"f entry 2: port b: abstract socket x belongs to port a"},
		"header in a text": {head + "kind = \"\"\"\n[[port]]\n\"\"\"\n", "f entry 1: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadPorts("f", []byte(c.text), readSecret)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if code := api.CodeOf(err); code != api.CodeUsage && code != api.CodeConflict {
				t.Errorf("%v has code %s", err, code)
			}
			if !strings.HasPrefix(err.Error(), "f") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
		})
	}
}

func TestNoPortsAtAll(t *testing.T) {
	for _, text := range []string{"port = []", `{"ports": []}`} {
		if specs, err := ReadPorts("f", []byte(text), readSecret); err != nil || len(specs) != 0 {
			t.Errorf("%s: %v, %v", text, specs, err)
		}
	}
}

func TestThousandsOfEntries(t *testing.T) {
	var b bytes.Buffer
	for i := range 10000 {
		fmt.Fprintf(&b, "[[port]]\nname = \"p%d\"\nip = [\"10.%d.%d.1/16\"]\nnetns = \"n%d\"\n", i, i/256, i%256, i)
	}
	specs, err := ReadPorts("f", b.Bytes(), readSecret)
	if err != nil || len(specs) != 10000 || specs[9999].Name != "p9999" {
		t.Fatalf("%d, %v", len(specs), err)
	}
	b.WriteString("[[port]]\nname = \"late\"\nip = \"10.0.0.1/16\"\nnetns = \"late\"\n")
	_, err = ReadPorts("f", b.Bytes(), readSecret)
	if err == nil || !strings.HasPrefix(err.Error(), "f line 40001: port late: ") {
		t.Error(err)
	}
}

func FuzzReadPorts(f *testing.F) {
	f.Add([]byte(tomlPorts))
	f.Add([]byte(jsonPorts))
	f.Add([]byte("port = []"))
	f.Add([]byte("[[port]]\nname=\"a\"\nip=1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		specs, err := ReadPorts("f", data, readSecret)
		if err != nil {
			if code := api.CodeOf(err); code != api.CodeUsage && code != api.CodeConflict {
				t.Fatalf("%v has code %s", err, code)
			}
			return
		}
		if again, err := portset.Check(specs); err != nil || len(again) != len(specs) {
			t.Fatalf("what was read is refused: %v", err)
		}
	})
}
