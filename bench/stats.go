package main

import (
	"math"
	"slices"
	"time"
)

// quantile is the smallest of the samples that at least the share q of them do not exceed.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median(samples []time.Duration) time.Duration { return quantile(samples, 0.5) }

// middle is the median of numbers.
func middle(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(samples))[(len(samples)-1)/2]
}

// series is what repeated blocks of one kind have shown.
type series struct {
	blocks [][]time.Duration
	rates  []float64 // endpoints per second, of each block
}

func (s *series) add(t timing) {
	s.blocks = append(s.blocks, t.Each)
	s.rates = append(s.rates, float64(len(t.Each))/t.Total.Seconds())
}

// summary is a series in figures.
type summary struct {
	P50  time.Duration `json:"p50_ns"`          // median of the blocks' medians
	P99  time.Duration `json:"p99_ns"`          // of all endpoints of all blocks
	Rate float64       `json:"endpoints_per_s"` // median of the blocks' rates
}

func (s *series) summary() summary {
	var medians []time.Duration
	for _, b := range s.blocks {
		medians = append(medians, median(b))
	}
	return summary{P50: median(medians), P99: quantile(slices.Concat(s.blocks...), 0.99), Rate: middle(s.rates)}
}
