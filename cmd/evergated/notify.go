package main

import (
	"log/slog"
	"strconv"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// What is said to the service manager (sd_notify(3)).
const (
	ready     = systemd.SdNotifyReady
	reloading = systemd.SdNotifyReloading
	stopping  = systemd.SdNotifyStopping
)

// notify tells the service manager, if there is one.
func notify(log *slog.Logger, state string) {
	if state == reloading {
		// Type=notify-reload wants to know since when.
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
			state += "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
		}
	}
	if _, err := systemd.SdNotify(false, state); err != nil {
		log.Warn("service manager was not told", "state", state, "error", err)
	}
}
