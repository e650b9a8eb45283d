/**
 * C-ECHO, C-FIND and C-MOVE at a PACS. The only place that knows dcmjs-dimse, which is loaded when first needed.
 *
 * The library is right about the wire and wrong about the end of a request, so this class decides when one has ended:
 *
 * - only a status outside 0xFFxx is final. The library ends at the first 0xFF01 ("pending, optional keys not
 *   supported"), and every later match would be lost without a word;
 * - an association that is aborted or closed before the final status is a failure. The library only says `closed`;
 * - time is counted here, from the last sign of life and in total, and its end destroys the socket.
 *
 * One association a request: the library never forgets one that is pending. Keys are ASCII, because text of a request
 * goes out as UTF-8 whatever is declared; lists of UIDs are arrays, because a joined one is cut at 64 characters.
 */
import type { Socket } from 'node:net';
import type * as Dimse from 'dcmjs-dimse';
import { ConnectorError, reasonOf } from '../../model/errors.ts';
import type { Clock } from '../../model/ports.ts';

type Library = Pick<typeof Dimse, 'Client' | 'Dataset' | 'requests'>;
type DimseResponse = Parameters<Dimse.requests.CFindRequest['raiseResponseEvent']>[0];

export interface PacsOptions {
  readonly host: string;
  readonly port: number;
  readonly calledAe: string;
  readonly callingAe: string;
  /** Without a response, a C-FIND or C-ECHO is given up. */
  readonly idleMsMax: number;
  /** The same for a C-MOVE, counted from the last response or the last instance that arrived. */
  readonly moveIdleMsMax: number;
  /** One request, from connection to final status. */
  readonly totalMsMax: number;
}

export type Level = 'STUDY' | 'SERIES' | 'IMAGE';
export type Row = Readonly<Record<string, string>>;

export interface FindResult {
  readonly rows: readonly Row[];
  /** 0x0000 alone means that these are all. */
  readonly status: number;
}

export interface MoveResult {
  readonly status: number;
  /** As the PACS counts; evidence for a log, never a proof. */
  readonly completed: number;
  readonly failed: number;
}

/** What shall be sent to us: a series, or instances of it. */
export interface MoveWish {
  readonly studyInstanceUid: string;
  readonly seriesInstanceUid: string;
  /** Absent: the whole series. */
  readonly sopInstanceUids?: readonly string[];
}

/** More matches than any window should have; the rest is treated like a limit of the PACS. */
const matchesMax = 20_000;

/** After its final status a PACS has this long to release and close. */
const closingMsMax = 5_000;

const checkEveryMs = 1_000;

const statusMoveDestinationUnknown = 0xa801;
/** PS3.7 section C.4: C-FIND ended because of a C-CANCEL, also sent by servers that stop at a limit. */
const statusCancelled = 0xfe00;

const isPending = (status: number) => status >= 0xff00;

export class Pacs {
  readonly #options: PacsOptions;
  readonly #clock: Clock;

  constructor(options: PacsOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  get address(): string {
    return `${this.#options.host}:${this.#options.port}`;
  }

  /** @throws ConnectorError PACS_UNREACHABLE, PACS_REFUSED, PACS_CUT, PACS_TOO_SLOW, PACS_FAILED */
  async echo(signal: AbortSignal): Promise<void> {
    const { requests } = await load();
    const status = await this.#perform(new requests.CEchoRequest(), () => undefined, { signal });
    if (status !== 0) throw this.#failed('C-ECHO', status);
  }

  /** @throws ConnectorError PACS_UNREACHABLE, PACS_REFUSED, PACS_CUT, PACS_TOO_SLOW */
  async find(level: Level, keys: Readonly<Record<string, string>>, signal: AbortSignal): Promise<FindResult> {
    const { requests, Dataset } = await load();
    const request = new requests.CFindRequest();
    request.setDataset(new Dataset({ QueryRetrieveLevel: level, ...keys }));
    const rows: Row[] = [];
    const status = await this.#perform(
      request,
      (response) => {
        const dataset = isPending(response.getStatus()) ? response.getDataset() : undefined;
        if (dataset && rows.length < matchesMax) rows.push(rowOf(dataset.getElements(), Object.keys(keys)));
      },
      { signal },
    );
    return { rows, status: rows.length >= matchesMax ? statusCancelled : status };
  }

  /**
   * Has instances sent to our own AE title. Sent over this association are only the responses; what arrived must be
   * asked of the intake.
   *
   * @param lastArrivalAt when the last instance arrived, monotonic
   * @throws ConnectorError as `find`; PACS_DESTINATION_UNKNOWN
   */
  async move(wish: MoveWish, lastArrivalAt: () => number, signal: AbortSignal): Promise<MoveResult> {
    const { requests, Dataset } = await load();
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUids } = wish;
    const { callingAe, moveIdleMsMax } = this.#options;
    const request = requests.CMoveRequest.createSeriesMoveRequest(callingAe, studyInstanceUid, seriesInstanceUid);
    const uids = { StudyInstanceUID: studyInstanceUid, SeriesInstanceUID: seriesInstanceUid };
    const images = { QueryRetrieveLevel: 'IMAGE', ...uids, SOPInstanceUID: [...(sopInstanceUids ?? [])] };
    request.setDataset(new Dataset(sopInstanceUids ? images : { QueryRetrieveLevel: 'SERIES', ...uids }));
    let [completed, failed] = [0, 0];
    const status = await this.#perform(
      request,
      (response) => {
        const counts = response as Partial<Dimse.responses.CMoveResponse>;
        completed = counts.getCompleted?.() ?? completed;
        failed = counts.getFailures?.() ?? failed;
      },
      { signal, idleMsMax: moveIdleMsMax, lastArrivalAt },
    );
    if (status === statusMoveDestinationUnknown) {
      throw new ConnectorError('PACS_DESTINATION_UNKNOWN', { peer: this.address, aeTitle: callingAe });
    }
    return { status, completed, failed };
  }

  async #perform(
    request: AnyRequest,
    onResponse: (response: DimseResponse) => void,
    watch: { signal: AbortSignal; idleMsMax?: number; lastArrivalAt?: () => number },
  ): Promise<number> {
    const { Client } = await load();
    const client = new Client();
    const conversation = new Conversation(this.address);
    const signOfLife = () => {
      conversation.lastSignAt = this.#clock.monotonic();
    };
    signOfLife();
    conversation.listen(client, request, (response) => {
      signOfLife();
      onResponse(response);
    });
    client.addRequest(request);
    const ended = new AbortController();
    void this.#watch(conversation, watch, ended.signal);
    try {
      // The library's own limits are raised out of the way of ours.
      const { host, port, callingAe, calledAe, totalMsMax } = this.#options;
      const patience = 2 * totalMsMax;
      const timeouts = { connectTimeout: patience, associationTimeout: patience, pduTimeout: patience };
      client.send(host, port, callingAe, calledAe, timeouts);
      // The library writes a request in two pieces: with Nagle's algorithm each costs 40 ms.
      socketOf(client)?.setNoDelay(true);
      const status = await conversation.finalStatus;
      await Promise.race([conversation.closed, this.#clock.sleep(closingMsMax, ended.signal)]);
      return status;
    } finally {
      ended.abort();
      // The library ends sockets politely, which a dead peer never answers.
      socketOf(client)?.destroy();
    }
  }

  async #watch(
    conversation: Conversation,
    { signal, idleMsMax, lastArrivalAt }: { signal: AbortSignal; idleMsMax?: number; lastArrivalAt?: () => number },
    ended: AbortSignal,
  ): Promise<void> {
    const startedAt = this.#clock.monotonic();
    const either = AbortSignal.any([signal, ended]);
    while (!ended.aborted) {
      await this.#clock.sleep(checkEveryMs, either);
      if (ended.aborted) return;
      const now = this.#clock.monotonic();
      const idleMs = now - Math.max(conversation.lastSignAt, lastArrivalAt?.() ?? 0);
      const peer = this.address;
      if (signal.aborted) return conversation.fail(new ConnectorError('PACS_CUT', { peer, reason: 'stopped' }));
      const limitMs = idleMsMax ?? this.#options.idleMsMax;
      if (idleMs > limitMs) return conversation.fail(new ConnectorError('PACS_TOO_SLOW', { peer, limitMs }));
      const { totalMsMax } = this.#options;
      if (now - startedAt > totalMsMax) {
        return conversation.fail(new ConnectorError('PACS_TOO_SLOW', { peer, limitMs: totalMsMax }));
      }
    }
  }

  #failed(service: string, status: number): ConnectorError {
    return new ConnectorError('PACS_FAILED', { peer: this.address, service, status: hex(status) });
  }
}

export function hex(status: number): string {
  return `0x${status.toString(16).toUpperCase().padStart(4, '0')}`;
}

type AnyRequest = Parameters<Dimse.Client['addRequest']>[0];

/** One request and what is heard of it. Ends once, by a final status or by a failure. */
class Conversation {
  readonly #peer: string;
  readonly #final = Promise.withResolvers<number>();
  readonly #closed = Promise.withResolvers<void>();
  #isConnected = false;
  lastSignAt = 0;

  constructor(peer: string) {
    this.#peer = peer;
  }

  get finalStatus(): Promise<number> {
    return this.#final.promise;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  fail(error: ConnectorError): void {
    this.#final.reject(error);
  }

  listen(client: Dimse.Client, request: AnyRequest, onResponse: (response: DimseResponse) => void): void {
    let status = 0xff00;
    const done = request.raiseDoneEvent.bind(request);
    request.raiseResponseEvent = (response) => {
      status = response.getStatus();
      onResponse(response);
    };
    request.raiseDoneEvent = () => {
      if (isPending(status)) return;
      this.#final.resolve(status);
      // It is the library's sign to release the association.
      done();
    };
    const peer = this.#peer;
    client.on('connected', () => {
      this.#isConnected = true;
    });
    client.on('associationRejected', (why: unknown) => {
      this.fail(new ConnectorError('PACS_REFUSED', { peer, reason: rejectionWords(why) }));
    });
    client.on('networkError', (error: unknown) => {
      const code = this.#isConnected ? 'PACS_CUT' : 'PACS_UNREACHABLE';
      this.fail(new ConnectorError(code, { peer, reason: reasonOf(error) }, { cause: error }));
    });
    client.on('closed', () => {
      const code = this.#isConnected ? 'PACS_CUT' : 'PACS_UNREACHABLE';
      this.fail(new ConnectorError(code, { peer, reason: 'closed' }));
      this.#closed.resolve();
    });
  }
}

/** Reasons of an A-ASSOCIATE-RJ by source and reason, PS3.8 table 9-21. */
const rejectionReasons: Readonly<Record<string, string>> = {
  '1.2': 'application context not supported',
  '1.3': 'calling AE title not recognized',
  '1.7': 'called AE title not recognized',
  '2.2': 'protocol version not supported',
  '3.1': 'temporary congestion',
  '3.2': 'local limit exceeded',
};

function rejectionWords(why: unknown): string {
  const { source, reason } = (why ?? {}) as { source?: number; reason?: number };
  return rejectionReasons[`${source}.${reason}`] ?? 'no reason given';
}

let loading: Promise<Library> | undefined;

/** Some 30 MB and half a second: not for a connector that only listens. */
function load(): Promise<Library> {
  loading ??= import('dcmjs-dimse').then(({ default: library }) => {
    // Its lines carry what peers say, and go to the console.
    library.log.setLevel('silent');
    return library;
  });
  return loading;
}

/** There is no public way to it. */
function socketOf(client: object): Socket | undefined {
  return (client as { network?: { socket?: Socket } }).network?.socket;
}

/** Only what was asked for, as text. */
function rowOf(elements: Readonly<Record<string, unknown>>, names: readonly string[]): Row {
  return Object.fromEntries(names.map((name) => [name, textOf(elements[name])]));
}

function textOf(value: unknown): string {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  if (typeof one === 'number') return String(one);
  return typeof one === 'string' ? one.replaceAll(/^ +|[ \0]+$/g, '') : '';
}
