// Package aeskey expands AES keys (FIPS 197 section 5.2) for code that takes the
// processor's AES instructions itself. Where the standard library does the work,
// it expands them too, and this package is empty.
package aeskey
