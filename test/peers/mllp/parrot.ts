/**
 * A peer that says exactly the bytes it is told, in the pieces it is told, and keeps what it hears. It knows nothing
 * of HL7 but the two bytes that end a block.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

const startBlock = 0x0b;

/** Content between a start and an end block. */
export function block(content: string | Uint8Array): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
  return Buffer.concat([Buffer.of(startBlock), bytes, Buffer.from('\x1c\r', 'latin1')]);
}

export class Parrot {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  /** Contents of the blocks heard so far, Latin-1. */
  readonly blocks: string[] = [];
  /** What was heard of a block without an end. */
  #tail = '';
  #isClosed = false;
  #wake = Promise.withResolvers<void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#hear(chunk);
      this.#changed();
    });
    // A reset is one way in which the other side may close; tests ask `closed`.
    socket.on('error', () => this.#changed());
    socket.once('close', () => {
      this.#isClosed = true;
      this.#changed();
    });
  }

  static async connect(port: number, tls?: ConnectionOptions): Promise<Parrot> {
    const socket = tls
      ? connectTls({ ...tls, port, host: '127.0.0.1' })
      : connect({ port, host: '127.0.0.1', noDelay: true });
    const parrot = new Parrot(socket);
    await once(socket, tls ? 'secureConnect' : 'connect');
    return parrot;
  }

  /** Resolves when the bytes have left this process. */
  async say(bytes: Uint8Array | string): Promise<void> {
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    await new Promise<void>((resolve) => {
      this.socket.write(data, () => resolve());
    });
  }

  /** One byte a write, each in a turn of its own. */
  async dribble(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      await this.say(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  get heard(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** MSA-1 and MSA-2 of every block heard so far: `AA 1`. */
  get verdicts(): string[] {
    return this.blocks.map(verdict);
  }

  /** Resolves with all blocks once there are `count`; rejects when the connection closes before. */
  async hear(count: number): Promise<string[]> {
    while (this.blocks.length < count) {
      if (this.#isClosed) throw new Error(`closed after ${this.blocks.length} of ${count} blocks`);
      await this.#wake.promise;
    }
    return this.blocks;
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) await this.#wake.promise;
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  #hear(chunk: Buffer): void {
    this.#chunks.push(chunk);
    const texts = (this.#tail + chunk.toString('latin1')).split('\x1c\r');
    this.#tail = texts.pop() ?? '';
    this.blocks.push(...texts.map((text) => text.slice(1)));
  }

  #changed(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
}

/** MSA-1 and MSA-2 of an answer: `AA 1`. */
export function verdict(answer: string): string {
  const [, code, controlId = ''] = answer.split('\r')[1]?.split(answer.charAt(3)) ?? [];
  return `${code} ${controlId}`.trim();
}
