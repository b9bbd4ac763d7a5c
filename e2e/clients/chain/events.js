// An event loop: `events.js PORT GOES_ON REDIS`. `/node/N` asks Redis over a connection of its own, then asyncio for `/asyncio/N` over those
// that node:http keeps.
const net = require('node:net');
const http = require('node:http');
const [own, goesOn, redis] = process.argv.slice(2).map(Number);

http.createServer((request, response) => {
  const number = Number(request.url.split('/')[2]);
  console.log(`answered ${number}`);
  const link = net.connect(redis, '127.0.0.1', () => {
    console.log(`asked ${number} ${link.localPort}`);
    link.write('*2\r\n$6\r\nEXISTS\r\n$4\r\nbook\r\n');
  });
  link.once('data', () => {
    link.end();
    setTimeout(() => http.get({ port: goesOn, host: '127.0.0.1', path: `/asyncio/${number}` }, (answer) => {
      answer.pipe(response);
    }), number % 4);
  });
}).listen(own, '127.0.0.1');
