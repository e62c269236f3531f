// Package pluginhost runs a dataplane plugin: it finds the executable, starts
// it, supervises it, and starts it again when it died or hung.
//
// A Host is itself an offload.Engine, one that outlives its processes:
//
//   - Calls wait a moment while no plugin is up, and then fail with
//     offload.ErrDown; at once, with ErrUnfit too, where the last start showed that
//     the plugin cannot be run as it is. Every call has a deadline; one that is not answered in
//     time fails with offload.ErrDown too. Nothing is repeated by itself: the
//     caller reconciles after the Reset that follows.
//   - After a restart the new process gets the last good Configure again, with a
//     boot number of its own, and then Events yields offload.Reset. So does the
//     Reset of a process that lives on.
//   - Events goes on over restarts. What nobody reads is kept up to a limit;
//     more shows as offload.Overrun.
//
// # Processes
//
// A plugin speaks go-plugin's protocol over a unix socket in a directory of its
// own below Config.RuntimeDir, with TLS certificates on both sides that are made for
// this one process. It does not get the daemon's environment, which may hold secrets,
// but a short list of harmless variables and those of its Spec. It leads a
// process group; a terminal's interrupt does not reach it, and what it started
// ends with it.
//
// A plugin is asked for Info at an interval. When it gives no answer in time it
// is taken for hung and killed. A process that ended is replaced after a pause,
// which doubles with every failure up to a limit and is short again once a
// process has lived for long enough.
//
// # Plugins that outlive their daemon
//
// With Config.Outlive a plugin goes on when its daemon is gone, however that went.
// How to reach it lies in the runtime directory, for its owner only; the next daemon
// adopts it, SAs and all, and Status.Adopted says so. A plugin lives as long as a
// daemon is connected, and Outlive longer. A lock that the kernel lets go of with
// the daemon keeps a second one away. What does not fit any more, because the
// configuration names another plugin or the protocol has another version, is
// replaced as if it had died.
//
// Evergate's own dataplane needs no file: the daemon starts itself again
// (Embedded, AsPlugin), so both are always of one version.
package pluginhost
