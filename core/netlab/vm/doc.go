// Package vm runs a command in a virtual machine with a kernel that the tests
// can rely on: Debian's own for cloud machines, which has ESP, its algorithms
// and interfaces, whatever the kernel lacks on which the tests run.
//
// A package whose tests need that kernel says so in its TestMain:
//
//	func TestMain(m *testing.M) {
//		if !vm.Inside() {
//			os.Exit(vm.RunTests(vm.Machine{Modules: []string{"esp4", "esp6"}}))
//		}
//		goleak.VerifyTestMain(m)
//	}
//
// The same test binary then runs inside, with the arguments, the environment
// and the working directory that it was called with, and go test shows what it
// writes while it runs. What takes a compiler is better built before RunTests:
// it is there inside under the same path.
//
// # The machine's files
//
// The machine sees the files of the host, at the same paths, through virtiofs
// and below a layer of its own memory: whatever is installed is at hand, such
// as ip, tcpdump and charon, and package netlab works as it does outside. What
// is written stays in the machine and is gone with it. /proc, /sys, /dev, /run
// and /lib/modules are its own. Files that change on the host meanwhile may be
// seen as they were.
//
// # The kernel
//
// Its packages come from Debian's archive through apt, are unpacked below the
// user's cache directory and kept there, by version; nothing is installed. A
// machine with NetDevSim also gets the kernel's simulator of network cards
// with IPsec offload, which Debian leaves out: it is compiled, once per
// version, from the source package of that kernel.
//
// # Time
//
// QEMU emulates the processor, because nested virtualization is seldom there. By the
// host's clock an emulated processor would lose time whenever the host runs something
// else: heartbeats would stay away, calls would take longer than they may and
// datagrams arrive late, all of it because of other work on the host. So the machine's
// clock counts instructions (QEMU's -icount), a nanosecond for each. However slow or
// busy the host is, a limit of a second is a thousand million instructions. That needs
// one processor: several would take turns anyway.
//
// When nothing is to be done an idle process passes the time in instructions that cost
// next to nothing, so waiting is faster than by the host's clock, and the host's pauses
// do not show then, either. QEMU could skip idle time as a whole (sleep=off). But then
// seconds pass in the machine while one of its processes waits for a page of a file of
// the host: what the host serves is the one thing that still depends on its speed. So
// what must start within a limit is better read beforehand.
//
// Inside, -test.timeout is in the machine's time, too; Machine.Limit is in the host's.
//
// # Speed
//
// A boot takes some seconds, and ESP some 30 Mbit/s of the host's time: the machine
// shows that things work, never how fast. A test that keeps it busy for a second of
// its own takes five or more of the host's.
//
// # Failing
//
// The command's exit status arrives on the machine's serial console. A machine
// that ends without it has crashed: the error then holds the end of what the
// console said. A machine that crashes or hangs before its command starts is
// booted again, twice at most. A package that is missing is named. Nothing
// is skipped.
package vm
