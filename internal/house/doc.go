// Package house holds no code: its tests are the house rules that no linter has, run over every file of the repository.
//
//	go test ./internal/house
//
// A rule is a function from a file to its complaints, so that each can be shown to find what it is for.
package house
