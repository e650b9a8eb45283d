/**
 * What the scan remembers of one care-date folder: one row of source state, found by one look-up, with every file that
 * was seen in it. One row a file would cost a look-up a file and a million rows a hospital.
 *
 * ```
 * {"t": {"OMP-01": "<mtime ms>:<ctime ms>"},                   signatures of data type folders
 *  "e": {"OMP-01/<order no>_<time>_<department>": "1o",        flag and fate
 *        "OMP-01/!<name>": "-q:<bytes>:<mtime ms>"}}           a name that follows no grammar
 * ```
 * **Why an unchanged signature means that nothing changed.** Creating, renaming and removing a file change the mtime
 * and ctime of the folder it lies in, in POSIX (link, unlink, rename), NTFS and over SMB and NFS alike; and all the life
 * of a file in this storage is that: written once, renamed afterwards. Two changes within one tick of the file server's
 * clock would look like one, so a signature is kept only when the folder was already quiet for a while when it was
 * read before the listing; a later change then has a later time. It is not kept while anything in the folder is
 * unfinished. What remains (a file server that does not keep folder times, two clocks far apart) is caught by
 * every `relistEveryPasses`-th full pass, which lists every folder whatever its signature.
 */
import type { ConditionFlag } from './names.ts';

/**
 * - `offered`: something of this version was handed over.
 * - `noted`: seen superseded or deleted; nothing was handed over.
 * - `deferred`: wanted later, when the patient becomes eligible. `offered-deferred`: the same for a deletion of what
 *   was handed over before.
 * - `pending`: not stable yet.
 * - `quarantined`: handed over, but not as what its name says. Looked at again when its size or time change.
 */
type Fate = 'offered' | 'noted' | 'deferred' | 'offered-deferred' | 'pending' | 'quarantined';

export interface Entry {
  /** `-` where the name follows no grammar. */
  readonly flag: ConditionFlag | '-';
  readonly fate: Fate;
  /** Of what may still change: `<bytes>:<mtime ms>`. */
  readonly seen?: string;
}

const letters: Readonly<Record<Fate, string>> = {
  offered: 'o',
  noted: 'n',
  deferred: 'd',
  'offered-deferred': 'x',
  pending: 'p',
  quarantined: 'q',
};
const fates = new Map(Object.entries(letters).map(([fate, letter]) => [letter, fate as Fate]));

export function isDeferred({ fate }: Entry): boolean {
  return fate === 'deferred' || fate === 'offered-deferred';
}

export function wasOffered(entry: Entry | undefined): boolean {
  return entry?.fate === 'offered' || entry?.fate === 'offered-deferred';
}

/** The remembered files of one folder of one data type, under names within it. */
export type TypeEntries = Map<string, Entry>;

export class DayRow {
  readonly #signatures: Map<string, string>;
  /** As stored; undefined once it was read into `#types`, which a folder in which nothing is new does not need. */
  #stored: Stored['e'] | undefined;
  readonly #types = new Map<string, TypeEntries>();
  isChanged = false;

  constructor(value?: Uint8Array) {
    const stored = value ? (JSON.parse(textOf(value)) as Stored) : { t: {}, e: {} };
    this.#signatures = new Map(Object.entries(stored.t));
    this.#stored = stored.e;
  }

  signature(dataType: string): string | undefined {
    return this.#signatures.get(dataType);
  }

  sign(dataType: string, signature: string | undefined): void {
    if (this.#signatures.get(dataType) === signature) return;
    if (signature === undefined) this.#signatures.delete(dataType);
    else this.#signatures.set(dataType, signature);
    this.isChanged = true;
  }

  entries(dataType: string): ReadonlyMap<string, Entry> {
    return this.#entriesOf(dataType);
  }

  /** Whether everything remembered of a data type was handed over, and nothing waits. */
  isHandedOver(dataType: string): boolean {
    if (!this.#stored)
      return this.#entriesOf(dataType)
        .values()
        .every(({ fate }) => fate === 'offered');
    const ofType = `${dataType}/`;
    for (const key in this.#stored) {
      if (key.startsWith(ofType) && this.#stored[key]?.charAt(1) !== letters.offered) return false;
    }
    return true;
  }

  put(dataType: string, name: string, entry: Entry): void {
    const entries = this.#entriesOf(dataType);
    const known = entries.get(name);
    if (known && formatEntry(known) === formatEntry(entry)) return;
    entries.set(name, entry);
    this.isChanged = true;
  }

  forget(dataType: string, name: string): void {
    if (this.#entriesOf(dataType).delete(name)) this.isChanged = true;
  }

  /** Undefined when nothing is left to remember. */
  encode(): Uint8Array | undefined {
    this.#read();
    const entries = [...this.#types].flatMap(([dataType, files]) =>
      [...files].map(([name, entry]): [string, string] => [`${dataType}/${name}`, formatEntry(entry)]),
    );
    if (entries.length === 0 && this.#signatures.size === 0) return undefined;
    const stored: Stored = { t: Object.fromEntries(this.#signatures), e: Object.fromEntries(entries) };
    return Buffer.from(JSON.stringify(stored));
  }

  #entriesOf(dataType: string): TypeEntries {
    this.#read();
    return this.#typeOf(dataType);
  }

  #read(): void {
    const stored = this.#stored;
    if (!stored) return;
    this.#stored = undefined;
    for (const [key, text] of Object.entries(stored)) {
      const at = key.indexOf('/');
      this.#typeOf(key.slice(0, at)).set(key.slice(at + 1), parseEntry(text));
    }
  }

  #typeOf(dataType: string): TypeEntries {
    const known = this.#types.get(dataType);
    if (known) return known;
    const made: TypeEntries = new Map();
    this.#types.set(dataType, made);
    return made;
  }
}

interface Stored {
  readonly t: Readonly<Record<string, string>>;
  readonly e: Readonly<Record<string, string>>;
}

/** Without a copy. */
function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString();
}

function formatEntry({ flag, fate, seen }: Entry): string {
  return `${flag}${letters[fate]}${seen === undefined ? '' : `:${seen}`}`;
}

function parseEntry(text: string): Entry {
  const fate = fates.get(text.charAt(1)) ?? 'noted';
  const seen = text.length > 2 ? { seen: text.slice(3) } : {};
  return { flag: text.charAt(0) as Entry['flag'], fate, ...seen };
}
