// Package netlab builds real networks out of network namespaces and runs real
// peers in them, for the integration tests and for the demo.
//
// A Lab owns everything: namespaces, the links between them, the processes
// inside, the captures. A test makes one with New(t); a program that is no
// test wraps its work in Run, which ends with the same clean-up, also on Ctrl-C.
//
//	lab := netlab.New(t)
//	client, gateway := lab.Namespace("client"), lab.Namespace("gateway")
//	wan, _ := lab.Link(client.Port("wan", "192.0.2.1/24"), gateway.Port("wan", "192.0.2.2/24"))
//	capture := wan.Capture("udp port 4500")
//	answer, err := client.Ping(t.Context(), netlab.Ping{To: "192.0.2.2"})
//	packets := capture.ESP("") // stops the capture
//
// # Nothing stays behind
//
// Namespaces have no name in the file system: they live by file descriptors of
// this process, links live in the namespaces, and processes are killed by the
// kernel when the thread that started them is gone. So even a test binary that
// is killed leaves nothing that a later run could trip over, only its directory
// of logs among the temporary files. Names such as "client" appear in messages
// only, and any number of labs can run in parallel.
//
// # Failing
//
// What only a broken test or machine can get wrong (an address that does not
// parse, a missing package) ends the test through TB.Fatalf; those methods
// belong to the test's goroutine. What the test is about (a ping, an
// initiation, a transfer) is returned. Every wait has a limit and ends with
// the context of the TB, too.
//
// The driver of strongSwan is in the package strongswan below this one.
package netlab
