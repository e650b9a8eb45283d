/**
 * A producer without our intake: the unchanged @tus/server with its file store behind mTLS. The one thing every such
 * receiver must add is here: a second POST for an id that exists answers 409, because `FileStore.create` would truncate
 * what was already stored.
 */
import { once } from 'node:events';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
import type { Pair } from './certificates.ts';
import { portOf } from './port.ts';

interface ServerCertificates {
  readonly server: Pair;
  readonly authority: { readonly cert: string };
}

export class TusReceiver {
  readonly folder: string;
  readonly #server: HttpsServer;
  readonly #sockets = new Set<Socket>();

  private constructor(folder: string, server: HttpsServer) {
    this.folder = folder;
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(certificates: ServerCertificates, folder: string, port = 0): Promise<TusReceiver> {
    const tus = new Server({
      path: '/files',
      datastore: new FileStore({ directory: folder }),
      namingFunction: (_request, metadata) => claimName(folder, metadata?.['parcelId'] ?? ''),
      relativeLocation: true,
    });
    const server = createServer(
      {
        ...certificates.server,
        ca: certificates.authority.cert,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
      },
      (request, response) => void tus.handle(request, response),
    );
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return new TusReceiver(folder, server);
  }

  get port(): number {
    return portOf(this.#server);
  }

  get url(): string {
    return `https://localhost:${this.port}/`;
  }

  path(parcelId: string): string {
    return join(this.folder, parcelId);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** `wx` makes the check and the claim one step; `${id}.json` is the store's own beside the data. */
async function claimName(folder: string, parcelId: string): Promise<string> {
  if (!/^[\w-]{1,64}$/.test(parcelId)) throw Object.assign(new Error('name'), { status_code: 422, body: 'parcelId\n' });
  try {
    await (await open(join(folder, `${parcelId}.claim`), 'wx')).close();
  } catch (cause) {
    throw Object.assign(new Error('exists', { cause }), { status_code: 409, body: 'EXISTS\n' });
  }
  return parcelId;
}
