package main

import (
	"math"
	"slices"
)

// ratios say how one of two compares with the other in turns that were neighbours, and how sure that is.
type ratios struct {
	Pairs  int     `json:"pairs"`
	Median float64 `json:"median"`
	Q1     float64 `json:"first_quartile"`
	Q3     float64 `json:"third_quartile"`
	// Low and High are around the true median in 95 of 100 runs, whatever the ratios' distribution is.
	Low  float64 `json:"low_95"`
	High float64 `json:"high_95"`
}

// compare takes the ratios of the i-th to the i-th.
func compare(own, hand []float64) ratios {
	list := make([]float64, 0, len(own))
	for i := range min(len(own), len(hand)) {
		list = append(list, own[i]/hand[i])
	}
	if len(list) == 0 {
		return ratios{}
	}
	slices.Sort(list)
	n := len(list)
	at := func(i int) float64 { return list[min(max(i, 0), n-1)] }
	// The number of samples below the median is binomial, of deviation √n/2; 1.96 of these are 95 %.
	half := 1.96 * math.Sqrt(float64(n)) / 2
	return ratios{
		Pairs: n, Median: (at((n-1)/2) + at(n/2)) / 2,
		Q1: at((n - 1) / 4), Q3: at(n - 1 - (n-1)/4),
		Low: at(int(math.Floor(float64(n)/2-half)) - 1), High: at(int(math.Ceil(float64(n)/2 + half))),
	}
}
