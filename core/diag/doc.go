// Package diag holds what an operator sees: the diagnose views, as values that
// travel as JSON over the admin socket, and as text in FortiOS's format, because
// its users read those lines every day.
//
// Every field comes from real data. Where FortiOS prints something that has no
// counterpart here (weight, ad, fec, qat, overlay_id, hash_search_len), the line
// has the value that a FortiGate without that feature prints, so that scripts
// which parse it go on working. Where no public meaning of a field exists, ours
// is written at the field.
package diag
