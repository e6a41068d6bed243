package policy

import (
	"errors"
	"strings"
)

// NoConfig is for policies that have nothing to configure. encoding/json reads any configuration, for half a megabyte.
func NoConfig(config string) error {
	if strings.Join(strings.Fields(config), "") != "{}" {
		return errors.New("config: there is nothing to configure, so it must be {}")
	}
	return nil
}
