/**
 * The keys of one installation.
 *
 * The **site key** is kept by the platform (a systemd credential, or a 0600 file) and never by the database. It wraps
 * every payload's key and the four keys of the **ring**, which live wrapped in the database and travel with its
 * backups:
 *
 * - `index`: HMAC of subjects, native keys and record ids. Never rotated, so that a restored connector knows what it
 *   has delivered.
 * - `ledger`: seals the ledger's bodies and the provision records.
 * - `register`: seals patient ids and names the register must be able to show.
 * - `signing`: seed of the agent's Ed25519 key.
 *
 * The site key is wrapped once more, as an age file, to the hospital's own recovery key, which is printed at `init`
 * and stored nowhere: a dead board must not make the legal record unreadable.
 */
import { hash, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Db, Migration } from './database.ts';
import { writeDurableSync } from './files.ts';
import { type SigningKey, signingKeyFromSeed } from './jws.ts';
import { openBox, sealBox } from './seal.ts';

const ringNames = ['index', 'ledger', 'register', 'signing'] as const;
type RingName = (typeof ringNames)[number];

export const keysMigration: Migration = {
  part: 'keys',
  steps: ['CREATE TABLE key_ring(name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID'],
};

export class KeyRing {
  readonly #siteKey: Uint8Array;
  readonly #keys: ReadonlyMap<RingName, Uint8Array>;
  readonly #indexHmac: Hmac;
  readonly signing: SigningKey;

  private constructor(siteKey: Uint8Array, keys: ReadonlyMap<RingName, Uint8Array>) {
    this.#siteKey = siteKey;
    this.#keys = keys;
    // A ring that lost a key is refused here, not in the middle of a night.
    for (const name of ringNames) this.#key(name);
    this.#indexHmac = new Hmac(this.#key('index'));
    this.signing = signingKeyFromSeed(this.#key('signing'));
  }

  /**
   * Opens the ring of this database, making it at the first start.
   *
   * @throws ConnectorError SEAL_BROKEN when the site key is another one.
   */
  static open(db: Db, siteKey: Uint8Array): KeyRing {
    const insert = db.prepare('INSERT OR IGNORE INTO key_ring VALUES (?, ?)');
    const rows = db.prepare<[], { name: RingName; wrapped: Buffer }>('SELECT name, wrapped FROM key_ring');
    if (rows.all().length === 0) {
      db.transaction(() => {
        for (const name of ringNames) insert.run(name, sealBox(siteKey, `ring:${name}`, randomBytes(32)));
      }).immediate();
    }
    const keys = new Map(rows.all().map(({ name, wrapped }) => [name, openBox(siteKey, `ring:${name}`, wrapped)]));
    return new KeyRing(siteKey, keys);
  }

  /** First 16 bytes of HMAC-SHA-256 under the index key, over parts that cannot run into one another. */
  index(domain: string, ...parts: readonly (string | Uint8Array)[]): Buffer {
    return this.#indexHmac.of(domain, parts).subarray(0, 16);
  }

  /** Wraps a payload's 32-byte key, bound to its seal id. */
  wrap(key: Uint8Array, sealId: Uint8Array): Buffer {
    return sealBox(this.#siteKey, `payload:${Buffer.from(sealId).toString('hex')}`, key);
  }

  /** @throws ConnectorError SEAL_BROKEN */
  unwrap(wrapped: Uint8Array, sealId: Uint8Array): Buffer {
    return openBox(this.#siteKey, `payload:${Buffer.from(sealId).toString('hex')}`, wrapped);
  }

  seal(name: 'ledger' | 'register', context: string, plain: Uint8Array | string): Buffer {
    return sealBox(this.#key(name), context, typeof plain === 'string' ? Buffer.from(plain) : plain);
  }

  /** @throws ConnectorError SEAL_BROKEN */
  open(name: 'ledger' | 'register', context: string, box: Uint8Array): Buffer {
    return openBox(this.#key(name), context, box);
  }

  #key(name: RingName): Uint8Array {
    const key = this.#keys.get(name);
    if (!key) throw new ConnectorError('SEAL_BROKEN', { what: `the ${name} key is missing from the ring` });
    return key;
  }
}

/** Of SHA-256; keys up to this length are used as they are. RFC 2104 section 2. */
const blockBytes = 64;

/** Room for a domain and its parts; longer ones get their own. */
const scratchBytes = 1024;

/**
 * HMAC-SHA-256 (RFC 2104) by two digests of one call each. `createHmac` makes an object for each, which costs nearly three
 * times as much, and two of these go into every record.
 */
class Hmac {
  readonly #outer: Buffer;
  #inner: Buffer;

  constructor(key: Uint8Array) {
    this.#inner = Buffer.alloc(blockBytes + scratchBytes, 0x36);
    this.#outer = Buffer.alloc(blockBytes + 32, 0x5c);
    for (const [at, byte] of key.entries()) {
      this.#inner[at] = 0x36 ^ byte;
      this.#outer[at] = 0x5c ^ byte;
    }
  }

  /** Over the domain, and each part with its length in front. */
  of(domain: string, parts: readonly (string | Uint8Array)[]): Buffer {
    this.#makeRoom(parts.reduce((sum, part) => sum + 4 + Buffer.byteLength(part), Buffer.byteLength(domain)));
    let end = blockBytes + this.#inner.write(domain, blockBytes);
    for (const part of parts) {
      const length = typeof part === 'string' ? this.#inner.write(part, end + 4) : part.length;
      if (typeof part !== 'string') this.#inner.set(part, end + 4);
      end = this.#inner.writeUInt32BE(length, end) + length;
    }
    // Hexadecimal because a string costs a fraction of a buffer with memory of its own.
    this.#outer.write(hash('sha256', this.#inner.subarray(0, end), 'hex'), blockBytes, 'hex');
    return Buffer.from(hash('sha256', this.#outer, 'hex'), 'hex');
  }

  #makeRoom(bytes: number): void {
    if (blockBytes + bytes <= this.#inner.length) return;
    const larger = Buffer.alloc(blockBytes + bytes);
    this.#inner.copy(larger, 0, 0, blockBytes);
    this.#inner = larger;
  }
}

/** Writes a new site key; the caller has made sure there is none. */
export function createSiteKey(path: string): Buffer {
  const key = randomBytes(32);
  writeDurableSync(path, Buffer.from(`${key.toString('base64')}\n`));
  return key;
}

/** @throws ConnectorError KEY_UNREADABLE - missing, readable by others, or not 32 bytes of base64. */
export function readSiteKey(path: string): Buffer {
  let text: string;
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) {
      throw new ConnectorError('KEY_UNREADABLE', {
        path,
        reason: `its mode is ${(mode & 0o777).toString(8)}, not 600`,
      });
    }
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof ConnectorError) throw cause;
    throw new ConnectorError('KEY_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length !== 32) throw new ConnectorError('KEY_UNREADABLE', { path, reason: 'it does not hold 32 bytes' });
  return key;
}
