// Package walk lets controllers on several hosts do whatever can be done, at random and side by side, and kills them at
// random steps of it. A model of a few lines says what each call must answer and what is true afterwards; what a killed
// call has done is found out by looking, and must be all or nothing. When all is quiet, model, stores and hosts must
// agree, sandboxes must reach each other exactly as the model says, and traffic that no call concerned has lost nothing.
//
//	go test ./internal/reliability/walk                     # a few walks
//	LIBCNM_FULL=1 go test ./internal/reliability/walk       # more than twenty
//	LIBCNM_SEED=7 go test -v ./internal/reliability/walk    # the walks of that seed, with every call
//
// A seed gives the same calls and the same moments of death. Which of two calls side by side comes first it does not say.
package walk
