package control

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// docs/CLI.md lists every request, and no others.
func TestDocsListTheRequests(t *testing.T) {
	data, err := os.ReadFile("../../../docs/CLI.md")
	must(t, err)
	requests := 0
	for _, r := range newHandler(service(), Config{}).routes() {
		for method := range r.methods {
			requests++
			want := fmt.Sprintf("| `%s %s%s", method, api.Prefix, strings.ReplaceAll(r.path, "{name}", "NAME"))
			if !strings.Contains(string(data), want+"`") && !strings.Contains(string(data), want+"?") {
				t.Errorf("%s is not there", want)
			}
		}
	}
	listed := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " "+api.Prefix+"/") && strings.HasPrefix(line, "| `") {
			listed++
		}
	}
	if listed != requests {
		t.Errorf("%d requests are listed, and there are %d", listed, requests)
	}
}

// The examples with curl, of the documents and of the README, do what they say,
// one after the other.
func TestDocsCurl(t *testing.T) {
	nictest.Require(t, "curl")
	schema, err := apitest.ReadSchema("../../../docs/api.schema.json")
	must(t, err)
	fake, dir := service(), t.TempDir()
	fake.Counters = wholeStats()
	start(t, quiet(dir), fake)
	var did []string
	for _, path := range []string{"../../../docs/CLI.md", "../../../README.md"} {
		data, err := os.ReadFile(path)
		must(t, err)
		for _, line := range regexp.MustCompile("curl --unix-socket [^`\n]*").FindAllString(string(data), -1) {
			line = strings.ReplaceAll(line, "/run/xdpdemux/eth0.sock", SocketPath(dir, "eth0"))
			out, err := exec.Command("sh", "-c", strings.TrimSuffix(line, ")")+" -sS --fail-with-body").CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
				continue
			}
			did = append(did, fits(schema, out))
		}
	}
	want := "Status PortList Port PortList Stats DeleteResult Status"
	if got := strings.Join(did, " "); got != want {
		t.Errorf("the answers are %s, want %s", got, want)
	}
}

// wholeStats are counters without null in their JSON.
func wholeStats() api.Stats {
	none := map[string]uint64{}
	flow := api.Flow{Drops: none}
	return api.Stats{Total: flow, Wire: flow, Host: flow, Containers: flow, Injected: flow,
		Kernel: api.KernelStats{Redirected: none, Passed: none, Sockets: []api.SocketStats{}}}
}

// fits names the definition that an answer fits.
func fits(schema *apitest.Schema, answer []byte) string {
	for _, def := range []string{"Status", "PortList", "Port", "Stats", "DeleteResult"} {
		if schema.Check(def, answer) == nil {
			return def
		}
	}
	return string(answer)
}
