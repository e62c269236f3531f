package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// initPackage is the program that runs as process 1.
const initPackage = "github.com/evergate/evergate/core/netlab/vm/init"

// writeInitramfs writes the files that the kernel starts with: our init, what
// it needs to reach the host's files, and the job. dir is for files that are of
// no use afterwards.
func writeInitramfs(ctx context.Context, k kernel, j job.Job, dir, target string) error {
	text, err := os.ReadFile(filepath.Join(k.modules(), k.release, "modules.dep"))
	if err != nil {
		return fmt.Errorf("vm: read what the modules need: %w", err)
	}
	files, err := parseDependencies(text).order(bootModules[:]...)
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "init")
	if err := buildInit(ctx, program); err != nil {
		return err
	}

	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // the job may hold a secret
	if err != nil {
		return fmt.Errorf("vm: create the initramfs: %w", err)
	}
	defer f.Close()
	a := &archive{w: f}
	a.dir("dev")
	a.device("dev/console", 5, 1) // what process 1 gets as stdin, stdout and stderr
	a.copy("init", program)
	a.dir(job.Modules)
	for _, file := range files {
		name := path.Base(file)
		a.copy(path.Join(job.Modules, name), filepath.Join(k.modules(), k.release, file))
		j.Boot = append(j.Boot, name)
	}
	text, err = json.Marshal(j)
	if err != nil {
		return fmt.Errorf("vm: write the job: %w", err)
	}
	a.file(job.File, text)
	if err := errors.Join(a.close(), f.Close()); err != nil {
		return fmt.Errorf("vm: write the initramfs: %w", err)
	}
	return nil
}

// copy adds a file of the host.
func (a *archive) copy(name, source string) {
	data, err := os.ReadFile(source)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.file(name, data)
}

// buildInit compiles init, statically: no library is there when it starts.
func buildInit(ctx context.Context, target string) error {
	goCommand, err := tool("go")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, goCommand, "build", "-race=false", "-cover=false", "-buildvcs=false", "-o", target, initPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("vm: build init: %w: %s", err, out)
	}
	return nil
}
