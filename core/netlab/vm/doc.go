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
// # Speed
//
// QEMU emulates the processor, because nested virtualization is seldom there.
// A boot takes some seconds, and ESP some 30 Mbit/s: the machine shows that
// things work, never how fast.
//
// # Failing
//
// The command's exit status arrives on the machine's serial console. A machine
// that ends without it has crashed: the error then holds the end of what the
// console said. A machine that crashes or hangs before its command starts is
// booted again, twice at most: on a busy host an emulated processor can miss what
// a kernel's start takes for granted. A package that is missing is named. Nothing
// is skipped.
package vm
