package nic

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// lineError is several errors in one line.
type lineError []error

// join is errors.Join for messages that must stay on one line.
func join(errs ...error) error {
	var list lineError
	for _, err := range errs {
		if err != nil && !errors.Is(list, err) {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

func (l lineError) Error() string {
	texts := make([]string, len(l))
	for i, err := range l {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (l lineError) Unwrap() []error { return l }

// NotFoundError says that a network interface does not exist in this network
// namespace.
type NotFoundError struct {
	// Name is what was asked for; if it is empty, Index was.
	Name  string
	Index int
}

func (e *NotFoundError) what() string {
	if e.Name == "" && e.Index != 0 {
		return "interface with index " + strconv.Itoa(e.Index)
	}
	return "interface " + strconv.Quote(e.Name)
}

func (e *NotFoundError) Error() string {
	return "no " + e.what() + " in this network namespace: choose one that 'ip link' lists"
}

// Unfit is the reason why an interface cannot serve as NIC.
type Unfit uint8

// The reasons of an UnfitError.
const (
	// UnfitLoopback: no wire is behind it.
	UnfitLoopback Unfit = iota + 1
	// UnfitLinkType: it does not carry Ethernet frames.
	UnfitLinkType
	// UnfitMember: another device (bond, bridge, Open vSwitch, …) takes its frames.
	UnfitMember
)

// UnfitError says that an interface exists but cannot serve as NIC.
type UnfitError struct {
	Name   string
	Reason Unfit
	// LinkType is what it carries in place of Ethernet, for UnfitLinkType.
	LinkType string
	// Master and MasterKind (such as "bridge", "bond" and "openvswitch") are
	// those of the device that owns it, for UnfitMember.
	Master, MasterKind string
}

func (e *UnfitError) Error() string {
	switch e.Reason {
	case UnfitLoopback:
		return e.Name + " is the loopback interface and leads to no wire: choose a network card, see 'ip link'"
	case UnfitLinkType:
		return fmt.Sprintf("%s carries %s, not Ethernet frames: choose an Ethernet interface, see 'ip -d link'", e.Name, e.LinkType)
	case UnfitMember:
		return fmt.Sprintf("%s is a member of the %s %s, which would lose the containers' frames: take it out first ('%s')",
			e.Name, kindName(e.MasterKind), e.Master, e.takeOut())
	}
	return e.Name + " cannot serve as NIC"
}

func (e *UnfitError) takeOut() string {
	if e.MasterKind == "openvswitch" {
		return "ovs-vsctl del-port " + e.Name
	}
	return "ip link set " + e.Name + " nomaster"
}

// kindName is a kind of device as people call it.
func kindName(kind string) string {
	switch kind {
	case "openvswitch":
		return "Open vSwitch datapath"
	case "":
		return "device"
	}
	return kind
}
