// A Google Cloud Storage on a free port of loopback. Prints its url and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(server.URL())
	io.Copy(io.Discard, os.Stdin)
}
