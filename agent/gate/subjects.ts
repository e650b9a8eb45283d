import type { Db, Statement } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import type { SubjectId } from '../model/ports.ts';
import type { Instant, PatientName } from '../model/record.ts';
import type { Register } from './register.ts';

/** Names whose HMAC is kept, some 200 bytes each: everybody who is in the hospital on one day. */
const hmacsMax = 8192;

/**
 * Who is who: patient names as HMACs, and the roots that make several names one person. Every method is synchronous
 * and belongs inside the caller's transaction.
 */
export class Subjects {
  readonly #keys: KeyRing;
  readonly #register: Register;
  /** A pure function of the name, so it cannot go stale; whose name it is, is asked of the table each time. */
  readonly #hmacs = new Map<string, Buffer>();
  readonly #find: Statement<[Buffer], SubjectId>;
  readonly #insertSubject: Statement<[Buffer], unknown>;
  readonly #setRoot: Statement<[SubjectId], unknown>;
  readonly #insertAlias: Statement<[Buffer, SubjectId, Buffer], unknown>;
  readonly #rootOf: Statement<[SubjectId], { root: SubjectId }>;
  readonly #ofRoot: Statement<[SubjectId], { id: SubjectId }>;
  readonly #repoint: Statement<[SubjectId, SubjectId, SubjectId], unknown>;
  readonly #insertMerge: Statement<[SubjectId, SubjectId, SubjectId, Instant], unknown>;
  readonly #publicId: Statement<[SubjectId], { public_id: Buffer }>;
  readonly #names: Statement<[SubjectId], { sealed: Buffer }>;
  readonly #all: Statement<[SubjectId, number], { id: SubjectId; root: SubjectId }>;

  constructor(db: Db, keys: KeyRing, register: Register) {
    this.#keys = keys;
    this.#register = register;
    this.#find = db.prepare<[Buffer], SubjectId>('SELECT subject FROM alias WHERE name = ?').pluck();
    this.#insertSubject = db.prepare('INSERT INTO subject(root, public_id) VALUES (0, ?)');
    this.#setRoot = db.prepare('UPDATE subject SET root = id WHERE id = ?');
    this.#insertAlias = db.prepare('INSERT INTO alias VALUES (?, ?, ?)');
    this.#rootOf = db.prepare('SELECT root FROM subject WHERE id = ?');
    this.#ofRoot = db.prepare('SELECT id FROM subject WHERE root = ?');
    this.#repoint = db.prepare('UPDATE subject SET root = ?, united = 1 WHERE root IN (?, ?)');
    this.#insertMerge = db.prepare('INSERT INTO merge(prior, surviving, prior_root, at) VALUES (?, ?, ?, ?)');
    this.#publicId = db.prepare('SELECT public_id FROM subject WHERE id = ?');
    this.#names = db.prepare('SELECT sealed FROM alias WHERE subject = ?');
    this.#all = db.prepare('SELECT id, root FROM subject WHERE id > ? ORDER BY id LIMIT ?');
  }

  /** The subject of this name, if any record or register row has ever named it. */
  find(name: PatientName): SubjectId | undefined {
    return this.#find.get(this.#hmac(name));
  }

  /** The subject of this name, made when it is new. */
  ensure(name: PatientName): SubjectId {
    const hmac = this.#hmac(name);
    const found = this.#find.get(hmac);
    if (found !== undefined) return found;
    const { lastInsertRowid } = this.#insertSubject.run(this.#keys.index('subject', hmac));
    const subject = Number(lastInsertRowid);
    this.#setRoot.run(subject);
    this.#insertAlias.run(hmac, subject, this.#seal(name));
    return subject;
  }

  /**
   * Makes `name` one more name of this person. An unknown name becomes a name of the subject itself; a known one is
   * united with it. Returns true when two persons became one.
   */
  link(name: PatientName, subject: SubjectId, at: Instant): boolean {
    const known = this.find(name);
    if (known !== undefined) return this.unite(known, subject, at);
    this.#insertAlias.run(this.#hmac(name), subject, this.#seal(name));
    return false;
  }

  /** The subject whose id stands for the whole person. */
  rootOf(subject: SubjectId): SubjectId {
    return this.#rootOf.get(subject)?.root ?? subject;
  }

  /** Every subject of the person this one belongs to. */
  family(subject: SubjectId): SubjectId[] {
    return this.#ofRoot.all(this.rootOf(subject)).map(({ id }) => id);
  }

  /**
   * From now on both are one person. Returns false when they already were; twice is harmless. What each was called
   * stays on record.
   */
  unite(prior: SubjectId, surviving: SubjectId, at: Instant): boolean {
    const [from, to] = [this.rootOf(prior), this.rootOf(surviving)];
    if (from === to) return false;
    this.#insertMerge.run(prior, surviving, from, at);
    this.#repoint.run(to, from, to);
    // It changes verdicts without touching a register row.
    this.#register.touch();
    return true;
  }

  /** Hex; what producers know the subject by. It says nothing about the patient's number. */
  publicId(subject: SubjectId): string {
    return this.#publicId.get(subject)?.public_id.toString('hex') ?? '';
  }

  /** The names this very subject goes by, opened: for the stop's document and the retraction, never for a log. */
  names(subject: SubjectId): PatientName[] {
    return this.#names
      .all(subject)
      .map(({ sealed }) => JSON.parse(this.#keys.open('register', 'alias', sealed).toString()));
  }

  /** Subjects after `after`, lowest first. */
  page(after: SubjectId, limit: number): { id: SubjectId; root: SubjectId }[] {
    return this.#all.all(after, limit);
  }

  #hmac({ authority, normalized }: PatientName): Buffer {
    const name = `${authority.length} ${authority}${normalized}`;
    const known = this.#hmacs.get(name);
    if (known) return known;
    const hmac = this.#keys.index('alias', authority, normalized);
    if (this.#hmacs.size >= hmacsMax) this.#hmacs.delete(this.#hmacs.keys().next().value as string);
    this.#hmacs.set(name, hmac);
    return hmac;
  }

  #seal(name: PatientName): Buffer {
    return this.#keys.seal('register', 'alias', JSON.stringify(name));
  }
}
