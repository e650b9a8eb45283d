/** `openssl s_server` asking for a client certificate: it says why it refuses one, where Node's server only closes. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Certificates } from './certificates.ts';

export class OpensslServer {
  readonly url: string;
  readonly #process: ChildProcessByStdio<null, Readable, null>;

  private constructor(process: ChildProcessByStdio<null, Readable, null>, port: string) {
    this.#process = process;
    this.url = `https://localhost:${port}/`;
  }

  static async start(folder: string, { authority, server }: Certificates): Promise<OpensslServer> {
    const cert = join(folder, 's_server.pem');
    const key = join(folder, 's_server.key');
    const ca = join(folder, 's_server.ca.pem');
    await writeFile(cert, server.cert);
    await writeFile(key, server.key, { mode: 0o600 });
    await writeFile(ca, authority.cert);
    const trust = ['-CAfile', ca, '-Verify', '1', '-verify_return_error'];
    const options = ['s_server', '-accept', '127.0.0.1:0', '-www', '-tls1_3', '-cert', cert, '-key', key, ...trust];
    const child = spawn('openssl', options, { stdio: ['ignore', 'pipe', 'ignore'] });
    let said = '';
    for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
      said += String(chunk);
      const [, port] = /ACCEPT \S*?:(\d+)/.exec(said) ?? [];
      if (port) {
        child.stdout.resume();
        return new OpensslServer(child, port);
      }
    }
    throw new Error('openssl s_server ended before it listened');
  }

  async close(): Promise<void> {
    const ended = once(this.#process, 'close');
    this.#process.kill();
    await ended;
  }
}
