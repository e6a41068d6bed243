// Prints the addresses of each argument, as Go's own resolver finds them: one line each.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		fmt.Print(name)
		addresses, _ := resolver.LookupHost(context.Background(), name)
		for _, address := range addresses {
			fmt.Print(" ", address)
		}
		fmt.Println()
	}
}
