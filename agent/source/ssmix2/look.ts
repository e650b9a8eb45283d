/**
 * Looking at one patient's folders: what is new there is read and handed over, what is known costs one look-up a care
 * date and one `stat` a data type.
 */
import type { Category } from '../../model/category.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { PatientName, RecordFacts } from '../../model/record.ts';
import { type DayRow, type Entry, isDeferred, wasOffered } from './catalogue.ts';
import { categoryOf } from './data-types.ts';
import { badNameFacts, factsOf, patientOf } from './facts.ts';
import { type FileState, isGone, listFolder, readWhole, type Signature, signatureOf, stateOf } from './folder.ts';
import { entryKey, isLater, type Move, planFolder, type Version } from './life-cycle.ts';
import { isIn, isPatientId, parseFileName, type Place } from './names.ts';
import type { FolderOfPatient, Root } from './root.ts';
import { type Run, RunEnded } from './run.ts';
import type { Answer, SurveyedDay } from './survey.ts';

type Wish = 'take' | 'defer' | 'never';

interface LookOptions {
  /** The tree has been gone through once: what is new now is new in the hospital. */
  readonly isLoaded: boolean;
  /** Lists every folder, also those that look unchanged. */
  readonly isRelisting: boolean;
}

/** A folder younger than this is listed again: the coarsest clock of a file system in use, FAT's, ticks every 2 s. */
const quietMsMin = 5_000;

/** One data type's folder of one care date, and what is remembered of it. */
interface TypeFolder {
  /** Folder names from the root. */
  readonly path: readonly string[];
  readonly rowKey: string;
  readonly row: DayRow;
  /** Undefined where the folders above do not agree whose it is: then no name in it can be right. */
  readonly place: Place | undefined;
  readonly dataType: string;
  readonly category: Category;
  /** As a survey has seen it a moment before. */
  readonly signature?: Answer<Signature> | undefined;
}

interface Sorted {
  readonly versions: ReadonlyMap<string, Version>;
  readonly bad: readonly string[];
}

/** What a look found: what is left to a later one, and the newest time in any name. */
interface Found {
  readonly deferred: Set<Category>;
  newest: string;
}

export class Look {
  readonly #root: Root;
  readonly #run: Run;
  readonly #options: LookOptions;
  /** What the gate has answered: the same of every care date. */
  readonly #wishes = new Map<string, Wish>();
  readonly found: Found = { deferred: new Set(), newest: '' };

  constructor(root: Root, run: Run, options: LookOptions) {
    this.#root = root;
    this.#run = run;
    this.#options = options;
  }

  /** One care date, or `-`, of a patient; `seen` where a survey has seen it. @throws as Root.list, Intake.accept */
  async day({ path, patientId }: FolderOfPatient, careDate: string, seen?: Answer<SurveyedDay>): Promise<void> {
    const folder = [...path, careDate];
    const surveyed = seen && (await this.#root.surveyedResult(seen));
    const listing = seen ? surveyed : await this.#root.list(...folder);
    if (!listing) return;
    const rowKey = this.key(folder);
    const row = this.#run.draft.row(rowKey);
    for (const [index, dataType] of listing.folders.entries()) {
      const place = patientId === undefined ? undefined : { patientId, careDate, dataType };
      // What lies in the wrong place is of no category, whatever its folder is called.
      const category = place ? categoryOf(dataType, this.#run.options.categories) : 'unclassified';
      const signature = surveyed?.signatures[index];
      await this.#type({ path: [...folder, dataType], rowKey, row, place, dataType, category, signature });
    }
    await this.#strays(folder, listing.files, row);
  }

  /** Files that lie where none should: above the folders of the data types. */
  async strays(folder: readonly string[], files: readonly string[]): Promise<void> {
    if (files.length > 0) await this.#strays(folder, files, this.#run.draft.row(this.key(folder)));
  }

  async #strays(path: readonly string[], files: readonly string[], row: DayRow): Promise<void> {
    if (files.length === 0) return;
    const rowKey = this.key(path);
    const folder: TypeFolder = { path, rowKey, row, place: undefined, dataType: '', category: 'unclassified' };
    const names = files.filter((file) => !systemFiles.has(file.toLowerCase()));
    await this.#badNames(folder, names);
    this.#run.draft.keep(rowKey, row);
  }

  key(folder: readonly string[]): string {
    return `${this.#root.key}\n${folder.join('/')}`;
  }

  async #type(folder: TypeFolder): Promise<void> {
    if (this.#isDone(folder)) return;
    const { path, row, rowKey, dataType, category } = folder;
    const owner = path[2] ?? '';
    const wish = isPatientId(owner) ? this.#wants(owner, category) : 'take';
    if (wish === 'never') this.#forget(folder);
    else await this.#wanted(folder, wish);
    if ([...row.entries(dataType).values()].some(isDeferred)) this.found.deferred.add(category);
    this.#run.draft.keep(rowKey, row);
  }

  /**
   * Nothing there has changed, and all of it was handed over: no answer of the gate would make a difference, and asking
   * for it would cost more than all else that is done there.
   */
  #isDone({ row, dataType, signature }: TypeFolder): boolean {
    if (this.#options.isRelisting || !signature || !('result' in signature)) return false;
    return row.signature(dataType) === signature.result.text && row.isHandedOver(dataType);
  }

  #wants(patientId: string, category: Category): Wish {
    const key = `${patientId} ${category}`;
    const known = this.#wishes.get(key);
    if (known) return known;
    const wish = this.#run.host.intake.wants(patientOf(patientId, this.#run.options), category);
    this.#wishes.set(key, wish);
    return wish;
  }

  /** Of a patient who has said no nothing is remembered but what was handed over before that. */
  #forget({ row, dataType }: TypeFolder): void {
    for (const [name, entry] of row.entries(dataType)) if (!wasOffered(entry)) row.forget(dataType, name);
    row.sign(dataType, undefined);
  }

  async #wanted(folder: TypeFolder, wish: Exclude<Wish, 'never'>): Promise<void> {
    const { row, dataType } = folder;
    const path = this.#root.path(...folder.path);
    // Before the listing: what changes in between is seen, and what changes after it makes another signature.
    const seen = folder.signature;
    const signature = seen ? await this.#root.surveyedResult(seen) : await this.#root.attempt(() => signatureOf(path));
    if (!signature) return;
    const isOwed = wish === 'take' && [...row.entries(dataType).values()].some(isDeferred);
    if (!this.#options.isRelisting && !isOwed && row.signature(dataType) === signature.text) return;
    const listing = await this.#root.attempt(() => listFolder(path));
    if (!listing) return;
    const sorted = this.#sort(listing.files, folder.place);
    const isSettled = [await this.#versions(folder, sorted.versions, wish), await this.#badNames(folder, sorted.bad)];
    const quietMs = Math.max(quietMsMin, this.#run.options.stableForMs);
    const isQuiet = this.#run.host.clock.now() - signature.changedAt >= quietMs;
    row.sign(dataType, isQuiet && isSettled.every(Boolean) ? signature.text : undefined);
  }

  #sort(files: readonly string[], place: Place | undefined): Sorted {
    const versions = new Map<string, Version>();
    const bad: string[] = [];
    for (const file of files) {
      const name = parseFileName(file);
      if (!name || !place || !isIn(place, name)) {
        bad.push(file);
        continue;
      }
      const key = entryKey(name);
      const other = versions.get(key);
      if (!other || isLater(name, other.name)) versions.set(key, { key, file, name });
      if (name.time > this.found.newest) this.found.newest = name.time;
    }
    return { versions, bad };
  }

  /** True when nothing is left to be looked at again soon. */
  async #versions(
    folder: TypeFolder,
    versions: ReadonlyMap<string, Version>,
    wish: Exclude<Wish, 'never'>,
  ): Promise<boolean> {
    const { row, dataType } = folder;
    await this.#lookAgain(folder, versions);
    const { moves, notes } = planFolder(versions, row.entries(dataType), this.#options.isLoaded);
    for (const version of notes) this.#remember(folder, version);
    let isSettled = true;
    for (const move of moves) {
      if (wish === 'defer') this.#defer(folder, move);
      else if (!(await this.#take(folder, move))) isSettled = false;
    }
    return isSettled;
  }

  /** What was set aside and has been written anew since is a new file. */
  async #lookAgain({ path, row, dataType }: TypeFolder, versions: ReadonlyMap<string, Version>): Promise<void> {
    for (const [key, entry] of row.entries(dataType)) {
      const version = versions.get(key);
      if (entry.fate !== 'quarantined' || !version) continue;
      const state = await this.#state([...path, version.file]);
      if (state && state.text !== entry.seen) row.forget(dataType, key);
    }
  }

  /** A flag that means nothing more than itself. */
  #remember({ row, dataType }: TypeFolder, { key, name: { flag } }: Version): void {
    const fate = wasOffered(row.entries(dataType).get(key)) ? 'offered' : 'noted';
    row.put(dataType, key, { flag, fate });
  }

  #defer(folder: TypeFolder, { op, version, alongside }: Move): void {
    const { row, dataType } = folder;
    const known = row.entries(dataType).get(version.key);
    // Of what was handed over the old flag is kept, so that the change shows again when it may be told.
    const entry: Entry =
      known && wasOffered(known) && op === 'DEL'
        ? { flag: known.flag, fate: 'offered-deferred' }
        : { flag: version.name.flag, fate: 'deferred' };
    row.put(dataType, version.key, entry);
    for (const other of alongside) this.#remember(folder, other);
  }

  /** False when the file has to be looked at again. */
  async #take(folder: TypeFolder, move: Move): Promise<boolean> {
    const { version, op } = move;
    const { row, rowKey, dataType, category } = folder;
    const known = row.entries(dataType).get(version.key);
    const state = await this.#state([...folder.path, version.file]);
    if (!state) return false;
    // What was read once was stable then, and is not written again.
    if (!wasOffered(known) && !this.#isStable(state, known)) {
      row.put(dataType, version.key, this.#pending(version.name.flag, state, known));
      return false;
    }
    const flag = version.name.flag;
    if (state.bytes > this.#run.options.fileBytesMax) {
      this.#tooLarge(folder, version.file, state);
      row.put(dataType, version.key, { flag, fate: 'noted' });
      return true;
    }
    const bytes = await this.#bytes([...folder.path, version.file], state);
    if (!bytes) return false;
    const facts = factsOf(bytes, { name: version.name, op, category }, this.#run.options, (unreadable) =>
      this.#undecodable(unreadable),
    );
    if (this.#options.isLoaded) this.#run.countChange();
    row.put(
      dataType,
      version.key,
      facts.quarantine ? { flag, fate: 'quarantined', seen: state.text } : { flag, fate: 'offered' },
    );
    for (const other of move.alongside) this.#remember(folder, other);
    await this.#offer(bytes, facts, { rowKey, row });
    return true;
  }

  async #offer(bytes: Buffer, facts: RecordFacts, { rowKey, row }: { rowKey: string; row: DayRow }): Promise<void> {
    const { draft } = this.#run;
    if (facts.quarantine) this.#run.quarantined++;
    draft.add({ payload: { body: bytes }, describe: () => facts }, bytes.length);
    draft.keep(rowKey, row);
    await this.#run.commitWhenFull();
  }

  /** Files whose name or place is wrong: the bytes are kept, and nobody guesses whose they are. */
  async #badNames(folder: TypeFolder, files: readonly string[]): Promise<boolean> {
    const { row, rowKey, dataType } = folder;
    let isSettled = true;
    for (const file of files) {
      const key = `!${file}`;
      const owners = this.#claimants(folder.path[2], file);
      if (!owners) continue;
      const state = await this.#state([...folder.path, file]);
      const known = row.entries(dataType).get(key);
      if (known?.fate === 'quarantined' && known.seen === state?.text) continue;
      const bytes = state && (await this.#badBytes(folder, file, state, known));
      if (!bytes) {
        isSettled = false;
        continue;
      }
      row.put(dataType, key, { flag: '-', fate: 'quarantined', seen: state.text });
      const nativeKey = `bad-name|${[...folder.path, file].join('/')}`;
      await this.#offer(bytes, badNameFacts(nativeKey, owners), { rowKey, row });
    }
    return isSettled;
  }

  /** Undefined when it is not stable yet or too large. */
  async #badBytes(folder: TypeFolder, file: string, state: FileState, known?: Entry): Promise<Buffer | undefined> {
    const { row, dataType } = folder;
    if (!this.#isStable(state, known)) {
      row.put(dataType, `!${file}`, this.#pending('-', state, known));
      return undefined;
    }
    if (state.bytes <= this.#run.options.fileBytesMax) return this.#bytes([...folder.path, file], state);
    this.#tooLarge(folder, file, state);
    row.put(dataType, `!${file}`, { flag: '-', fate: 'quarantined', seen: state.text });
    return undefined;
  }

  /**
   * Those whose file it may be, by the patient's folder it lies in and by its name; undefined when one of them has said
   * no, for then it is not kept at all.
   */
  #claimants(folderName: string | undefined, file: string): readonly PatientName[] | undefined {
    const named = [folderName, parseFileName(file)?.patientId];
    const ids = new Set(named.filter((id): id is string => id !== undefined && isPatientId(id)));
    if ([...ids].some((id) => this.#wants(id, 'unclassified') === 'never')) return undefined;
    return [...ids].map((id) => patientOf(id, this.#run.options));
  }

  /**
   * Stable: not written for `stableForMs`, or seen the same for as long by our own clock, whatever the file server's
   * says. Two runs by hand may follow each other within a second, and prove nothing. A file without a byte has been
   * made and not written yet.
   */
  #isStable(state: FileState, known: Entry | undefined): boolean {
    if (state.bytes === 0) return false;
    const now = this.#run.host.clock.now();
    const { stableForMs } = this.#run.options;
    return now - state.mtimeMs >= stableForMs || now - this.#sameSince(state, known) >= stableForMs;
  }

  /** When this size and time were first seen; now, if they never were. */
  #sameSince(state: FileState, known: Entry | undefined): number {
    const [text, since] = splitLast(known?.fate === 'pending' ? known.seen : undefined);
    return text === state.text ? Number(since) : this.#run.host.clock.now();
  }

  #pending(flag: Entry['flag'], state: FileState, known: Entry | undefined): Entry {
    return { flag, fate: 'pending', seen: `${state.text}:${this.#sameSince(state, known)}` };
  }

  async #state(path: readonly string[]): Promise<FileState | undefined> {
    return this.#file(() => stateOf(this.#root.path(...path)));
  }

  async #bytes(path: readonly string[], state: FileState): Promise<Buffer | undefined> {
    return this.#file(() => readWhole(this.#root.path(...path), state));
  }

  /** Undefined when the file cannot be read now: renamed since its folder was listed, or kept from us. */
  async #file<Result>(access: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await this.#run.read(access);
    } catch (error) {
      if (error instanceof RunEnded) throw error;
      // A rename between listing and reading is the ordinary life of this storage.
      if (isGone(error)) return undefined;
      return this.#root.attempt(() => Promise.reject(error instanceof Error ? error : new Error('unknown')));
    }
  }

  #tooLarge({ path }: TypeFolder, file: string, { bytes }: FileState): void {
    const { code } = new ConnectorError('RECORD_TOO_LARGE', { limitBytes: this.#run.options.fileBytesMax });
    this.#run.host.report({ name: 'record.rejected', source: this.#run.host.name, code, numbers: { bytes } });
    this.#run.draft.note({ code: 'INCOMPLETE', reference: this.key([...path, file]) });
  }

  #undecodable({ characters, isJisX0212 }: { characters: number; isJisX0212: boolean }): void {
    const word = isJisX0212 ? 'jis-x-0212' : 'other';
    this.#run.host.report({
      name: 'record.undecodable',
      source: this.#run.host.name,
      numbers: { characters },
      word,
    });
  }
}

/** What file servers and desktops leave behind; not of the storage. */
const systemFiles: ReadonlySet<string> = new Set(['thumbs.db', 'desktop.ini', '.ds_store']);

function splitLast(text: string | undefined): [string | undefined, string | undefined] {
  const at = text?.lastIndexOf(':') ?? -1;
  return text === undefined || at < 0 ? [undefined, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
