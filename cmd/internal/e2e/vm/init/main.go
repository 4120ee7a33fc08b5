//go:build linux

// Init is process 1 of the virtual machines of package vm: it loads the modules,
// runs the tests, says how they ended, and switches the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// job is what /job.json says.
type job struct {
	Command []string
	Env     []string
}

func main() {
	err := run()
	fmt.Printf("\nthe tests ended: %v\n", err) // package vm looks for this line
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)) // which ends QEMU, as it was told
}

func run() error {
	if err := errors.Join(mountAll(), loadModules()); err != nil {
		return err
	}
	var j job
	text, err := os.ReadFile("/job.json")
	if err = errors.Join(err, json.Unmarshal(text, &j)); err != nil {
		return err
	}
	cmd := exec.Command(j.Command[0], j.Command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = j.Env, os.Stdout, os.Stderr
	return cmd.Run()
}

func mountAll() (err error) {
	for _, m := range [][2]string{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/run", "tmpfs"}, {"/tmp", "tmpfs"}, {"/var", "tmpfs"}} {
		if e := errors.Join(os.MkdirAll(m[0], 0o755), unix.Mount(m[1], m[0], m[1], 0, "")); e != nil {
			err = errors.Join(err, fmt.Errorf("mount %s: %w", m[0], e))
		}
	}
	return errors.Join(err, os.Chmod("/tmp", 0o777|os.ModeSticky))
}

// loadModules loads what stands in /modules, in the order of names; the kernel
// decompresses.
func loadModules() (err error) {
	files, _ := filepath.Glob("/modules/*")
	slices.Sort(files)
	for _, file := range files {
		f, e := os.Open(file)
		if e == nil {
			e = unix.FinitModule(int(f.Fd()), "", unix.MODULE_INIT_COMPRESSED_FILE)
			f.Close()
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("load %s: %w", file, e))
		}
	}
	return err
}
