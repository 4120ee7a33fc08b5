package api

// Difference is what must happen to one set of ports so that it becomes
// another.
type Difference struct {
	// Add are new ports.
	Add []PortSpec
	// Change are ports that a patch alone makes right, by name.
	Change []Change
	// Replace are ports whose interface itself must change (kind, MAC, VLAN,
	// netns or interface name): the old one goes, this one comes.
	Replace []PortSpec
	// Remove and Unchanged are names.
	Remove, Unchanged []string
}

// Change is one patch of a Difference.
type Change struct {
	Name  string
	Patch Patch
}

// Diff compares the ports that are with those that are wanted; names are
// unique in each. The order is that of want, removals in that of have.
func Diff(have, want []PortSpec) Difference {
	old := make(map[string]PortSpec, len(have))
	for _, spec := range have {
		old[spec.Name] = spec
	}
	var d Difference
	for _, spec := range want {
		was, ok := old[spec.Name]
		delete(old, spec.Name)
		d.place(was, spec, ok)
	}
	for _, spec := range have {
		if _, left := old[spec.Name]; left {
			d.Remove = append(d.Remove, spec.Name)
		}
	}
	return d
}

func (d *Difference) place(was, spec PortSpec, exists bool) {
	switch patch := PatchBetween(was, spec); {
	case !exists:
		d.Add = append(d.Add, spec)
	case !was.sameDevice(spec):
		d.Replace = append(d.Replace, spec)
	case patch.Empty():
		d.Unchanged = append(d.Unchanged, spec.Name)
	default:
		d.Change = append(d.Change, Change{Name: spec.Name, Patch: patch})
	}
}

// Result is d in the form in which Apply reports it. No list is nil.
func (d *Difference) Result() ApplyResult {
	r := ApplyResult{Added: []string{}, Changed: []string{}, Replaced: []string{}}
	for i := range d.Add {
		r.Added = append(r.Added, d.Add[i].Name)
	}
	for i := range d.Change {
		r.Changed = append(r.Changed, d.Change[i].Name)
	}
	for i := range d.Replace {
		r.Replaced = append(r.Replaced, d.Replace[i].Name)
	}
	r.Removed = append([]string{}, d.Remove...)
	r.Unchanged = append([]string{}, d.Unchanged...)
	return r
}
