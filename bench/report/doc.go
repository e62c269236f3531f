// Package report shows what a benchmark found: as tables in a terminal, as one
// line of JSON, as lines for benchstat, and as a page of HTML with plots that
// needs nothing but itself.
//
// A benchmark fills in a [Report]; it knows nothing of the forms. What is in a
// page comes from the same tables and numbers that the terminal gets, so that
// no form says more than another.
package report
