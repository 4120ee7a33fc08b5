package cli

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

// settingValue is a flag that says a setting. Only what was given is kept, so
// that a flag that was not leaves the setting to the environment and the file.
type settingValue struct {
	config.Setting
	given map[string]string
}

// String implements pflag.Value: what was given, or else the default.
func (v settingValue) String() string {
	if s, ok := v.given[v.Key]; ok {
		return s
	}
	defaults := config.Defaults()
	return v.Value(&defaults)
}

// Set implements pflag.Value.
func (v settingValue) Set(s string) error {
	if err := v.Setting.Set(new(config.Attach), s); err != nil {
		return err
	}
	v.given[v.Key] = s
	return nil
}

// addSettings gives a command the flags of some settings.
func (a *app) addSettings(cmd *cobra.Command, keys ...string) {
	for _, s := range config.Settings() {
		if !slices.Contains(keys, s.Key) {
			continue
		}
		v := settingValue{Setting: s, given: a.flags}
		f := &pflag.Flag{Name: s.Flag(), Usage: s.Usage, Value: v, DefValue: v.String()}
		if s.Bool() {
			f.NoOptDefVal = "true"
		}
		cmd.Flags().AddFlag(f)
	}
}

// asks gives a command the flags by which it finds its daemon.
func (a *app) asks(cmd *cobra.Command) *cobra.Command {
	a.addSettings(cmd, "nic", "run_dir")
	a.complete(cmd, "nic", a.nicNames)
	return cmd
}
