package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

// go generate sets it.
var update = flag.Bool("update", false, "write docs/CLI.md and testdata anew")

// docs/CLI.md is what the commands say of themselves, around a text by hand.
func TestDocs(t *testing.T) {
	template, err := os.ReadFile("testdata/CLI.md")
	must(t, err)
	a := &app{env: Env{Getenv: func(string) string { return "" }, ReadFile: os.ReadFile}, flags: map[string]string{}}
	text := strings.NewReplacer("<!-- commands -->\n", commandDocs(a.root()), "<!-- settings -->\n", settingDocs()).Replace(string(template))
	golden(t, "../../../docs/CLI.md", text, *update)
	if strings.Contains(text, "<!--") {
		t.Error("a part is missing")
	}
}

func commandDocs(root *cobra.Command) string {
	var b strings.Builder
	for _, cmd := range root.Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		commandDoc(&b, cmd)
	}
	b.WriteString("### Flags of every command\n\n")
	flagDocs(&b, root.PersistentFlags())
	return b.String()
}

func commandDoc(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "### %s\n\n", cmd.Name())
	long := strings.TrimSpace(cmd.Long)
	if long == "" {
		long = cmd.Short + "."
	}
	use := "xdpdemux " + cmd.Use
	if cmd.HasAvailableSubCommands() {
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		use += " " + strings.Join(names, "|")
	}
	fmt.Fprintf(b, "    %s\n\n%s\n\n", use, strings.ReplaceAll(long, "\n  ", "\n    ")) // code is indented by two in a help
	if cmd.Example != "" {
		fmt.Fprintf(b, "For example:\n\n%s\n\n", indent(cmd.Example))
	}
	flagDocs(b, cmd.LocalNonPersistentFlags())
}

// indent makes code of an example, which is indented by two already.
func indent(s string) string {
	return "  " + strings.ReplaceAll(s, "\n", "\n  ")
}

func flagDocs(b *strings.Builder, flags *pflag.FlagSet) {
	var rows []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		rows = append(rows, fmt.Sprintf("| %s` | %s |\n", name, usage))
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "| flag | |\n|---|---|\n%s\n", strings.Join(rows, ""))
	}
}

func settingDocs() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key in the file | type | default | |\n|---|---|---|---|---|---|\n")
	defaults := config.Defaults()
	for _, s := range config.Settings() {
		fmt.Fprintf(&b, "| `--%s` | `%s` | `%s` | %s | %s | %s |\n", s.Flag(), s.Env(), s.Key, s.Type(), s.Value(&defaults), s.Usage)
	}
	return b.String()
}
