// Package offloadtest checks a dataplane against the contract of package
// offload, clause by clause. The clauses have the names that stand in brackets
// in that package's documentation.
//
// In a test of a dataplane written in Go:
//
//	func TestContract(t *testing.T) {
//		offloadtest.Run(t, func(context.Context) (*offloadtest.Harness, error) {
//			return &offloadtest.Harness{Engine: ourplane.New(), Traffic: ourTraffic}, nil
//		})
//	}
//
// Run goes through real gRPC. Check does the same outside of go test, for a
// plugin executable with Executable; the program offload-probe is made of it.
//
// Every clause gets a fresh dataplane. Some need more than the contract can ask
// for: packets (Traffic), or hardware that loses things (Faults). Where a
// harness cannot provide them, the clause is reported as not exercised, with the
// reason, and neither passes nor fails.
package offloadtest
