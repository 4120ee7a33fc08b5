package nic

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// feature is what ethtool tells of one offload.
type feature struct {
	active     bool // in force now
	wanted     bool // what was asked for last
	changeable bool
}

func active(features map[string]feature) map[string]bool {
	m := make(map[string]bool, len(features))
	for name, f := range features {
		m[name] = f.active
	}
	return m
}

// features asks for all offloads of a device, by kernel name
// (net/ethtool/common.c, netdev_features_strings). A device that has none to
// tell of has none.
func (c *conn) features(index int) (map[string]feature, error) {
	reply, err := c.ethtool(unix.ETHTOOL_MSG_FEATURES_GET, ethtoolHeader(unix.ETHTOOL_A_FEATURES_HEADER, index))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("features of interface %d: %w", index, err)
	}
	return parseFeatures(reply)
}

// parseFeatures reads the four bit sets in an answer to ETHTOOL_MSG_FEATURES_GET.
func parseFeatures(reply []byte) (map[string]feature, error) {
	attrs, err := parseAttrs(reply)
	if err != nil {
		return nil, err
	}
	sets := map[uint16]map[string]bool{}
	for _, a := range attrs {
		if a.kind == unix.ETHTOOL_A_FEATURES_HEADER {
			continue
		}
		if sets[a.kind], err = parseBitset(a.value); err != nil {
			return nil, err
		}
	}
	features := map[string]feature{}
	for name, hardware := range sets[unix.ETHTOOL_A_FEATURES_HW] {
		features[name] = feature{
			active:     sets[unix.ETHTOOL_A_FEATURES_ACTIVE][name],
			wanted:     sets[unix.ETHTOOL_A_FEATURES_WANTED][name],
			changeable: hardware && !sets[unix.ETHTOOL_A_FEATURES_NOCHANGE][name],
		}
	}
	return features, nil
}

// parseBitset reads a bit set in its verbose form: a list of named bits. With
// a mask each listed bit says its value, without one those listed are set.
func parseBitset(b []byte) (map[string]bool, error) {
	attrs, err := parseAttrs(b)
	if err != nil {
		return nil, err
	}
	masked, list := true, []byte(nil)
	for _, a := range attrs {
		switch a.kind {
		case unix.ETHTOOL_A_BITSET_NOMASK:
			masked = false
		case unix.ETHTOOL_A_BITSET_BITS:
			list = a.value
		}
	}
	bits, err := parseAttrs(list)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, bit := range bits {
		name, value, err := parseBit(bit.value)
		if err != nil {
			return nil, err
		}
		set[name] = value || !masked
	}
	return set, nil
}

func parseBit(b []byte) (name string, value bool, err error) {
	attrs, err := parseAttrs(b)
	for _, a := range attrs {
		switch a.kind {
		case unix.ETHTOOL_A_BITSET_BIT_NAME:
			name = string(bytes.TrimRight(a.value, "\x00"))
		case unix.ETHTOOL_A_BITSET_BIT_VALUE:
			value = true
		}
	}
	return name, value, err
}

// setFeatures asks for offloads to be on or off. The kernel does not say here
// what became of it: ask features.
func (c *conn) setFeatures(index int, want map[string]bool) error {
	wanted := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, nil)
	bits := wanted.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
	for name, on := range want {
		bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
		if on {
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
		}
	}
	_, err := c.ethtool(unix.ETHTOOL_MSG_FEATURES_SET,
		ethtoolHeader(unix.ETHTOOL_A_FEATURES_HEADER, index), wanted)
	return err
}
