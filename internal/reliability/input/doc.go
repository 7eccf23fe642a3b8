// Package input attacks libcnm with what it is given: strings through every public entry that takes one, records that
// others wrote into its stores, directories that others can write to, and an etcd that refuses it. It consists of tests.
//
// That nothing hostile arrives is seen and not believed: the tests read the keys of the stores, the rules, the flows, the
// names of files and what programs were started with, and each must be of a form that libcnm alone would write.
//
//	go test ./internal/reliability/input                        # a sample
//	LIBCNM_FULL=1 go test ./internal/reliability/input          # 100,000 strings
//	LIBCNM_SEED=7 go test ./internal/reliability/input          # the strings of a failure, which prints its seed
package input
