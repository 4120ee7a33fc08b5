package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// chunkLimit is how long a chunk may take by our estimate. It leaves a margin
// below nine minutes for machines that are slower than what was estimated by.
const chunkLimit = 7 * time.Minute

// anchorCase is measured at the beginning of every chunk.
func anchorCase() testCase {
	return testCase{Direction: wireIn, Size: "64B", Containers: 1, Limit: nameBare, Contenders: []string{nameDrop, nameBare}}
}

// estimate is how long a case takes.
func (c *testCase) estimate(s settings) time.Duration {
	total := time.Duration(0)
	for _, name := range c.Contenders {
		k, err := findContender(name)
		if err != nil || k.refuses != nil && k.refuses(c) != "" {
			continue
		}
		first, last := c.rounds(s)
		if name == c.HalfOf {
			total += 4 * c.once(s)
		}
		total += 400*time.Millisecond + k.perPort*time.Duration(c.Containers) + time.Duration(last-first)*c.once(s)
	}
	return total
}

// aroundWindow is what starting and stopping everybody takes.
const aroundWindow = 12 * time.Millisecond

// once is how long one window takes.
func (c *testCase) once(s settings) time.Duration {
	switch {
	case c.isTCP():
		return time.Duration(wholeSeconds(c.window(s)))*time.Second + 300*time.Millisecond
	case c.Direction == churn:
		return 8 * time.Second
	case c.Direction == density:
		return idleWindow + 15*time.Second
	}
	return time.Duration(float64(c.window(s))*(1+warmUp)) + aroundWindow
}

// chunks cuts the list, in its order, so that no chunk takes longer than the
// limit. A case is never cut: its ratios are within it.
func chunks(list []testCase, s settings) (cut [][]testCase) {
	anchors := anchorCase()
	base := anchors.estimate(s)
	if s.Quick {
		base = 0
	}
	used := time.Duration(0)
	for _, c := range list {
		e := c.estimate(s)
		if len(cut) == 0 || used+e > chunkLimit {
			cut = append(cut, nil)
			used = base
		}
		cut[len(cut)-1] = append(cut[len(cut)-1], c)
		used += e
	}
	return cut
}

// selectCases are those whose whole name matches the pattern; none matches all.
func selectCases(list []testCase, pattern string) ([]testCase, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	chosen := slices.DeleteFunc(slices.Clone(list), func(c testCase) bool {
		return pattern != "" && !re.MatchString(c.name())
	})
	if len(chosen) == 0 {
		return nil, errors.New("-run selects no case: the pattern must match a whole name, as -list prints them")
	}
	return chosen, nil
}

// selectContenders leaves in each case those whose whole name matches the
// pattern, and the limit; none leaves all. What is taken off the processors'
// time, the rate of a program that drops, stays as well.
func selectContenders(list []testCase, pattern string) ([]testCase, error) {
	if pattern == "" {
		return list, nil
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("-contenders: %w", err)
	}
	for i := range list {
		c := &list[i]
		c.Contenders = slices.DeleteFunc(slices.Clone(c.Contenders), func(name string) bool {
			return name != c.Limit && name != nameDrop && !re.MatchString(name)
		})
	}
	return list, nil
}
