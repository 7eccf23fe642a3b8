package main

import (
	"bytes"
	"fmt"
	"math"
)

// The plot's size and where its axes begin, in pixels.
const (
	plotWidth, plotHeight         = 760, 420
	plotLeft, plotTop             = 64, 24
	plotRight, plotBottom         = 560, 372
	plotLegendX, plotLegendHeight = 580, 22
)

var plotColours = []string{"#666666", "#0b6e4f", "#c1121f", "#f4a261", "#1d4e89", "#7b2d8b"}

// plotGrowth draws the contenders' latency against the number of their endpoints, on a logarithmic scale: between
// contenders there are factors, not differences.
func plotGrowth(curves []curve) []byte {
	low, high, most := math.Inf(1), 0.0, 1
	for _, c := range curves {
		for _, p := range c.Points {
			low, high = min(low, float64(p.Up)/1e6), max(high, float64(p.Up)/1e6)
			most = max(most, p.Live+growthStep)
		}
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if !(high > low) {
		low, high = 0, 1
	}
	x := func(live int) float64 { return plotLeft + float64(live)/float64(most)*(plotRight-plotLeft) }
	y := func(ms float64) float64 {
		return plotBottom - (math.Log10(ms)-low)/(high-low)*(plotBottom-plotTop)
	}

	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, plotWidth, plotHeight)
	p(`<rect width="%d" height="%d" fill="white"/>`, plotWidth, plotHeight)
	for decade := low; decade <= high; decade++ {
		for step := 1.0; step < 10 && (decade < high || step == 1); step++ {
			ms, shade := math.Pow(10, decade)*step, "#eeeeee"
			if step == 1 {
				shade = "#bbbbbb"
				p(`<text x="%d" y="%.1f" text-anchor="end">%g</text>`, plotLeft-8, y(ms)+4, ms)
			}
			p(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>`, plotLeft, y(ms), plotRight, y(ms), shade)
		}
	}
	for i := range 6 {
		live := most * i / 5
		p(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#bbbbbb"/>`, x(live), plotTop, x(live), plotBottom)
		p(`<text x="%.1f" y="%d" text-anchor="middle">%d</text>`, x(live), plotBottom+18, live)
	}
	p(`<text x="%d" y="%d" text-anchor="middle">live endpoints</text>`, (plotLeft+plotRight)/2, plotBottom+38)
	p(`<text x="16" y="%d" text-anchor="middle" transform="rotate(-90 16 %d)">one more endpoint up, ms (median of %d)</text>`,
		(plotTop+plotBottom)/2, (plotTop+plotBottom)/2, growthStep)
	for i, c := range curves {
		colour := plotColours[i%len(plotColours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colour)
		for _, point := range c.Points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(point.Live), y(float64(point.Up)/1e6))
		}
		p(`"/>`)
		row := plotTop + 16 + i*plotLegendHeight
		p(`<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"/>`, plotLegendX, row-4, plotLegendX+20, row-4, colour)
		p(`<text x="%d" y="%d">%s</text>`, plotLegendX+28, row, c.Kind)
	}
	p(`</svg>`)
	return b.Bytes()
}
