// Package pluginrpc carries the contract of package offload between processes:
// an Engine served over gRPC, a gRPC connection used as an Engine, and the
// go-plugin wiring around both.
//
// A vendor's main needs two calls:
//
//	log := pluginrpc.NewLogger(os.Stderr, "ourplane", slog.LevelDebug)
//	os.Exit(pluginrpc.Serve(ourplane.New(log), log))
//
// What an Engine promises survives the way:
//
//   - The sentinel errors of package offload, of calls and of single Placements:
//     errors.Is works on both sides. The text travels too. So do
//     context.Canceled and context.DeadlineExceeded.
//   - Order: placements and counters come back in the order of the arguments.
//   - Batches of any length: Client splits them below gRPC's default limit of 4
//     MiB, which servers in other languages keep. Each part is carried out as a
//     whole; an error stops at the first part that fails, and the parts before
//     it stay done. A batch of more than MaxBatch items is therefore not atomic
//     under ErrStaleEpoch; a retry is safe, as calls are idempotent.
//
// Fields that hold keys are marked debug_redact. Go's protobuf does not heed that
// when it prints, so no message is ever printed, logged or put into an error
// here, and none leaves the package.
package pluginrpc
