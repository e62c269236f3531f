// Command requirements keeps core/requirements.md and the tests to one story.
//
// A test names the statements that it covers in a comment of its own, on its
// func line, above it or beside the case inside it, ids first:
//
//	func TestTakeover(t *testing.T) { // F5, F23
//		...
//		p.WantSilence(standby) // B5: the owner lives
//
// Ranges are written F16-F18. The command reads these comments from all
// _test.go files of the module, and
//
//   - fails when a test names an id that no statement has,
//   - fails when a statement is marked done and no test names it,
//   - fails when the Tests column of the table is not what the tests say: a
//     test that was renamed or removed holds nothing. With -write it writes
//     the column itself, and lists the statements without a test.
//
// It runs from the root of the module: go run ./core/requirements.
package main
