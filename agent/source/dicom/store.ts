/**
 * What happens to one instance between its C-STORE-RQ and the status it is answered with: streamed to the intake,
 * described from its own header, and on failure drained, so that the sender gets its answer where it expects it.
 */
import { ConnectorError, type ErrorCode } from '../../model/errors.ts';
import type { GapNote, SourceHost, StateChange } from '../../model/ports.ts';
import type { OfferResult, RecordFacts } from '../../model/record.ts';
import type { Status } from './command.ts';
import { type Arrival, type FactsOptions, readFacts } from './facts.ts';
import { HeaderScanner } from './header-scanner.ts';
import type { DataSetReader } from './messages.ts';
import { part10Header } from './part10.ts';

const KiB = 1024;
const GiB = 1024 ** 3;

/** What is not larger is handed over in one piece: the buffer keeps it in a row, many in one commit. */
const wholeBytesMax = 256 * KiB;

/** After a refusal this much is still read to get to the sender's turn to listen: the largest record anyone may allow. */
const drainBytesMax = 4 * GiB;

export interface StoreOptions extends FactsOptions {
  /** `gap`: when the buffer is full, answer success after a durable note that this instance is missing. */
  readonly whenFull: 'refuse' | 'gap';
}

/** An instance that has been noted as missing, and all that is needed to ask for it again. */
export interface MissedInstance {
  readonly studyInstanceUid: string;
  readonly seriesInstanceUid: string;
  readonly sopInstanceUid: string;
}

export interface StoreHooks {
  /** Every instance taken, with how it came. */
  readonly taken: (result: OfferResult, route: string) => void;
  /** What is to be remembered beside the gap, so that a poll can fetch the instance. */
  readonly missed: (instance: MissedInstance) => { gap: GapNote; state: StateChange };
}

export class InstanceStore {
  readonly #options: StoreOptions;
  readonly #host: SourceHost;
  readonly #hooks: StoreHooks;

  constructor(options: StoreOptions, host: SourceHost, hooks: StoreHooks) {
    this.#options = options;
    this.#host = host;
    this.#hooks = hooks;
  }

  /**
   * Resolves with the status to answer, once what it says is true on disk.
   *
   * @throws what the association threw while the data set was read: there is nobody to answer.
   */
  async take(arrival: Arrival, dataSet: DataSetReader): Promise<Status> {
    const scanned = new ScannedDataSet(dataSet, arrival.transferSyntaxUid);
    try {
      const body = await wholeOrStream(scanned);
      const payload = { prefix: part10Header(arrival), body };
      const describe = () => this.#describe(arrival, scanned);
      const [result] = await this.#host.intake.accept({ records: [{ payload, describe }] });
      if (result) this.#hooks.taken(result, arrival.isMoved ? 'c-move' : 'c-store');
      return 'success';
    } catch (error) {
      if (dataSet.isBroken) throw error;
      const refusal = refusalOf(error);
      await scanned.drain();
      if (this.#options.whenFull === 'gap' && refusal.code === 'BUFFER_FULL') return this.#noteGap(arrival, scanned);
      return this.#refuse(refusal);
    }
  }

  /** Reads an instance that cannot be kept to its end. */
  async turnDown(dataSet: DataSetReader): Promise<Status> {
    await new ScannedDataSet(dataSet, '').drain();
    return this.#refuse({ code: 'DICOM_NOT_AN_INSTANCE', status: 'cannotUnderstand' });
  }

  #describe(arrival: Arrival, scanned: ScannedDataSet): RecordFacts {
    const facts = readFacts(scanned.header, arrival, this.#options);
    if (facts.sopInstanceUid !== arrival.sopInstanceUid) {
      this.#host.report({ name: 'record.mismatched', source: this.#host.name, word: 'sop-instance-uid' });
    }
    return facts;
  }

  async #noteGap(arrival: Arrival, scanned: ScannedDataSet): Promise<Status> {
    const { studyInstanceUid = '', seriesInstanceUid = '', nativeKey } = this.#describe(arrival, scanned);
    const { gap, state } = this.#hooks.missed({ studyInstanceUid, seriesInstanceUid, sopInstanceUid: nativeKey });
    try {
      await this.#host.intake.accept({ records: [], gaps: [gap], state: [state] });
      return 'success';
    } catch (error) {
      return this.#refuse(refusalOf(error));
    }
  }

  #refuse({ code, status }: Refusal): Status {
    this.#host.report({ name: 'record.rejected', source: this.#host.name, code, word: status });
    return status;
  }
}

interface Refusal {
  readonly code: ErrorCode;
  readonly status: Status;
}

/**
 * What will pass is "out of resources", and senders repeat it. What never will is "cannot understand": to answer that
 * with A700 as well would block the sender's queue for ever behind one object.
 */
function refusalOf(error: unknown): Refusal {
  if (error instanceof ConnectorError) {
    return { code: error.code, status: error.class === 'permanent' ? 'cannotUnderstand' : 'outOfResources' };
  }
  // A disk that fails while a payload is being written (EIO, EMFILE) is told by the system's own error.
  if (error instanceof Error && 'syscall' in error) return { code: 'BUFFER_FAILED', status: 'outOfResources' };
  throw error;
}

/** The data set's bytes on their way through the header scanner. */
class ScannedDataSet {
  readonly #dataSet: DataSetReader;
  readonly #scanner: HeaderScanner;
  #header: ReturnType<HeaderScanner['end']> | undefined;

  constructor(dataSet: DataSetReader, transferSyntaxUid: string) {
    this.#dataSet = dataSet;
    this.#scanner = new HeaderScanner(transferSyntaxUid);
  }

  async read(): Promise<Buffer | undefined> {
    const bytes = await this.#dataSet.read();
    if (bytes) this.#scanner.push(bytes);
    return bytes;
  }

  async drain(): Promise<void> {
    let drainedBytes = 0;
    for (let bytes = await this.read(); bytes; bytes = await this.read()) {
      drainedBytes += bytes.length;
      this.release();
      if (drainedBytes > drainBytesMax) throw new ConnectorError('DICOM_CUT_OFF', { how: 'endless' });
    }
  }

  release(): void {
    this.#dataSet.release();
  }

  get header() {
    this.#header ??= this.#scanner.end();
    return this.#header;
  }
}

async function wholeOrStream(dataSet: ScannedDataSet): Promise<Uint8Array | AsyncIterable<Uint8Array>> {
  const head: Buffer[] = [];
  let byteCount = 0;
  while (byteCount <= wholeBytesMax) {
    const bytes = await dataSet.read();
    if (!bytes) return Buffer.concat(head);
    head.push(bytes);
    byteCount += bytes.length;
  }
  return stream(head, dataSet);
}

/** Each chunk is there until the next is asked for. */
async function* stream(head: Buffer[], dataSet: ScannedDataSet): AsyncGenerator<Buffer> {
  for (const bytes of head.splice(0)) yield bytes;
  dataSet.release();
  for (let bytes = await dataSet.read(); bytes; bytes = await dataSet.read()) {
    yield bytes;
    dataSet.release();
  }
}
