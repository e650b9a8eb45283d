import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';

/** What comes back for the message with this number, from 0: raw bytes, or nothing at all. */
export type Reply = (controlId: string, index: number) => Buffer | undefined;

export interface Responder {
  readonly to: string;
  readonly port: number;
  /** The content of each frame received, exact. */
  readonly received: Buffer[];
  close(): Promise<void>;
}

export const frame = (content: string | Buffer) =>
  Buffer.concat([Buffer.of(0x0b), Buffer.from(content), Buffer.of(0x1c, 0x0d)]);

export function ack(code: string, controlId: string, text = ''): Buffer {
  return frame(
    `MSH|^~\\&|PEER||KAKEHASHI-TEST||20261123||ACK|A1|T|2.5||||||UNICODE UTF-8\rMSA|${code}|${controlId}|${text}\r`,
  );
}

/** A small MLLP receiver: independent of the product's framer, so that both can be wrong only once. */
export async function startResponder(reply: Reply, tls?: TlsOptions): Promise<Responder> {
  const received: Buffer[] = [];
  const sockets = new Set<Socket>();
  const serve = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    let pending = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (let end = pending.indexOf('\x1c\r'); end >= 0; end = pending.indexOf('\x1c\r')) {
        const content = pending.subarray(1, end);
        pending = pending.subarray(end + 2);
        const answer = reply(content.toString('latin1').split('\r')[0]?.split('|')[9] ?? '', received.length);
        received.push(content);
        if (answer) socket.write(answer);
        else socket.destroy();
      }
    });
  };
  const server: Server = tls ? createTlsServer(tls, serve) : createServer(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  };
  return { to: `127.0.0.1:${port}`, port, received, close };
}
