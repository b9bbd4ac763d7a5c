package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	patience = 300 * time.Millisecond
	count    = 3
)

// call makes one call to its end; all kinds are streams to the library.
func call(conn *grpc.ClientConn, method, end string, delay int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	word := end
	switch end {
	case "cancel":
		word, delay = "OK", 10_000
		time.AfterFunc(patience, cancel)
	case "deadline":
		word, delay = "OK", 10_000
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	kind := &grpc.StreamDesc{
		StreamName:    method,
		ServerStreams: method == "List" || method == "Chat",
		ClientStreams: method == "Upload" || method == "Chat",
	}
	stream, err := conn.NewStream(ctx, kind, service+method)
	if err != nil {
		return err
	}
	messages := 1
	if kind.ClientStreams {
		messages = count
	}
	for range messages {
		// A call that has ended says why when it is read.
		if err := stream.SendMsg([]byte(fmt.Sprintf("%s %d %d", word, count, delay))); err != nil {
			break
		}
	}
	if kind.ClientStreams {
		_ = stream.CloseSend()
	}
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil || !kind.ServerStreams {
			return err
		}
	}
}

func plan(conn *grpc.ClientConn, line string) {
	words := strings.Fields(line)
	concurrency, _ := strconv.Atoi(words[0])
	limit := make(chan struct{}, concurrency)
	var all sync.WaitGroup
	for _, word := range words[1:] {
		part := append(strings.Split(word, ":"), "0")
		times, _ := strconv.Atoi(part[2])
		delay, _ := strconv.Atoi(part[3])
		for range times {
			all.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()
				err := call(conn, part[0], part[1], delay)
				fmt.Println(service+part[0], name(status.Code(err)))
			})
		}
	}
	all.Wait()
	fmt.Println("done")
}

func ask(address string) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		plan(conn, lines.Text())
	}
}
