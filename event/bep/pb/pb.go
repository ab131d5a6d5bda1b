// Package pb has the messages of Bazel's Build Event Protocol that k6x writes, made of the .proto files beside it.
package pb

//go:generate sh generate.sh
