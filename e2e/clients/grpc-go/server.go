package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What codes are called on the wire's own terms; grpc-go prints them in camel case.
var names = map[codes.Code]string{
	codes.OK: "OK", codes.NotFound: "NOT_FOUND", codes.Internal: "INTERNAL", codes.Canceled: "CANCELLED",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.Unimplemented: "UNIMPLEMENTED", codes.Unavailable: "UNAVAILABLE",
}

func name(code codes.Code) string {
	if name, known := names[code]; known {
		return name
	}
	return code.String()
}

func code(name string) codes.Code {
	for code, known := range names {
		if known == name {
			return code
		}
	}
	return codes.Unknown
}

var counting struct {
	sync.Mutex
	open, peak int
}

// counted runs a call and prints how it ended.
func counted(method string, call func() error) error {
	counting.Lock()
	counting.open++
	if counting.open > counting.peak {
		counting.peak = counting.open
		fmt.Println("peak", counting.peak)
	}
	counting.Unlock()
	err := call()
	counting.Lock()
	defer counting.Unlock()
	counting.open--
	fmt.Println(service+method, name(status.Code(err)))
	return err
}

type order struct {
	status codes.Code
	count  int
	delay  time.Duration
}

func parse(message []byte) (order, error) {
	var word string
	var count, delay int
	if _, err := fmt.Sscan(string(message), &word, &count, &delay); err != nil {
		return order{}, status.Error(codes.InvalidArgument, "no order")
	}
	return order{code(word), count, time.Duration(delay) * time.Millisecond}, nil
}

// pause waits, or ends with the call: status.FromContextError tells a deadline from a cancellation.
func pause(ctx context.Context, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (o order) end() error {
	if o.status == codes.OK {
		return nil
	}
	return status.Error(o.status, "as ordered")
}

func get(ctx context.Context, message []byte) error {
	o, err := parse(message)
	if err != nil {
		return err
	}
	if err := pause(ctx, o.delay); err != nil {
		return err
	}
	return o.end()
}

func list(stream grpc.ServerStream) error {
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	o, err := parse(message)
	if err != nil {
		return err
	}
	for at := range o.count {
		if err := stream.SendMsg([]byte("answer")); err != nil {
			return err
		}
		if at == 0 {
			if err := pause(stream.Context(), o.delay); err != nil {
				return err
			}
		}
	}
	return o.end()
}

// read takes what a client streams until it is done; `each` sees the message's number.
func read(stream grpc.ServerStream, each func(number int, o order) error) (order, error) {
	var first order
	for number := 0; ; number++ {
		var message []byte
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return first, nil
		} else if err != nil {
			return first, err
		}
		if number == 0 {
			var err error
			if first, err = parse(message); err != nil {
				return first, err
			}
		}
		if err := each(number, first); err != nil {
			return first, err
		}
	}
}

func upload(stream grpc.ServerStream) error {
	o, err := read(stream, func(int, order) error { return nil })
	if err != nil {
		return err
	}
	if err := pause(stream.Context(), o.delay); err != nil {
		return err
	}
	if err := o.end(); err != nil {
		return err
	}
	return stream.SendMsg([]byte("answer"))
}

func chat(stream grpc.ServerStream) error {
	o, err := read(stream, func(number int, o order) error {
		if err := stream.SendMsg([]byte("answer")); err != nil || number > 0 {
			return err
		}
		return pause(stream.Context(), o.delay)
	})
	if err != nil {
		return err
	}
	return o.end()
}

func streamed(method string, call func(grpc.ServerStream) error) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		return counted(method, func() error { return call(stream) })
	}
}

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var message []byte
	if err := decode(&message); err != nil {
		return nil, err
	}
	if err := counted("Get", func() error { return get(ctx, message) }); err != nil {
		return nil, err
	}
	return []byte("answer"), nil
}

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.v1.Shop",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Get", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "List", Handler: streamed("List", list), ServerStreams: true},
			{StreamName: "Upload", Handler: streamed("Upload", upload), ClientStreams: true},
			{StreamName: "Chat", Handler: streamed("Chat", chat), ServerStreams: true, ClientStreams: true},
		},
	}, nil)
	log.Fatal(server.Serve(listener))
}
