// The shop on grpc-go, server and client, without generated code: messages are bytes. See ../README.md.
package main

import (
	"fmt"
	"os"
)

// bytesCodec hands messages on as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(message any) ([]byte, error) {
	return message.([]byte), nil
}

func (bytesCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (bytesCodec) Name() string { return "bytes" }

const service = "/shop.v1.Shop/"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: grpc-go server|client|web PORT")
		os.Exit(2)
	}
	address := "127.0.0.1:" + os.Args[2]
	switch os.Args[1] {
	case "server":
		serve(address)
	case "client":
		ask(address)
	case "web":
		web(address)
	}
}
