package control

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
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
