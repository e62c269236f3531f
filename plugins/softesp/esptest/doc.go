// Package esptest is a second implementation of ESP (RFC 4303), for tests: plain
// code over the standard library, made to be compared with package esp and to
// play the peer. It shares nothing with package esp but the vocabulary.
package esptest
