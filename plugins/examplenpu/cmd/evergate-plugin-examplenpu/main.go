// Command evergate-plugin-examplenpu is package examplenpu as a plugin; evergated
// starts it. SIGUSR1 resets the firmware of its NPU.
package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/examplenpu"
)

// version is set by the linker.
var version = "devel"

func main() {
	log := pluginrpc.NewLogger(os.Stderr, examplenpu.Name, slog.LevelInfo)
	engine := examplenpu.New(examplenpu.Options{Version: version, Log: log})
	resets := make(chan os.Signal, 1)
	signal.Notify(resets, syscall.SIGUSR1)
	go func() {
		for range resets {
			engine.ResetFirmware()
		}
	}()
	os.Exit(pluginrpc.Serve(engine, log))
}
