/**
 * One association, PS3.8: negotiated, served message by message, ended.
 *
 * ```
 * negotiating ──(accepted)──▶ idle ◀──▶ busy ──▶ ending ──(peer closes, or time)──▶ closed
 *      └──────(rejected, fault, released, stopped)──────▲
 * ```
 * Messages are answered in the order in which they arrive, each before the next is read: no asynchronous operations
 * are granted, and peers that send ahead all the same are served correctly by that.
 */
import type { Socket } from 'node:net';
import { ConnectorError, type ErrorCode, isError } from '../../model/errors.ts';
import type { SourceHost } from '../../model/ports.ts';
import { type Command, commandFields, encodeResponse, readCommand, type Status } from './command.ts';
import { type CommandMessage, DataSetReader, MessageReader } from './messages.ts';
import { type Admission, answerContext, type Context, objection } from './negotiate.ts';
import {
  type AssociateRequest,
  broken,
  encodeAbort,
  encodeAssociateAccept,
  encodeCommandPdu,
  encodeReject,
  encodeReleaseReply,
  type Fault,
  readAssociateRequest,
  type Rejection,
} from './pdu.ts';
import { SocketReader } from './socket-reader.ts';
import type { InstanceStore } from './store.ts';
import { isUid, verification } from './uids.ts';

/** From the connection to the end of the A-ASSOCIATE-RQ: the ARTIM timer of PS3.8 section 9.1.4. */
export const artimMsMax = 30_000;

/** How long a peer may take to close after our last word. */
const lingerMs = 2_000;

/** An answer is a few hundred bytes: a peer that does not take it for so long has stopped reading. */
export const writeMsMax = 30_000;

export interface AssociationOptions extends Admission {
  /** Between two bytes that we wait for. */
  readonly idleMsMax: number;
  /** From connection to end, whatever happens in it. */
  readonly totalMsMax: number;
}

export interface AssociationHooks {
  /** False when there is no place for one more of this AE title. */
  readonly admit: (callingAe: string) => boolean;
  readonly store: InstanceStore;
}

type CloseReason = 'released' | 'aborted' | 'cut' | 'rejected' | 'stopped' | 'too-slow' | 'broken';

/** What is told when a request is rejected. */
const rejectionCodes: Readonly<Record<Rejection, ErrorCode>> = {
  'called-ae': 'DICOM_AE_REFUSED',
  'calling-ae': 'DICOM_AE_REFUSED',
  'application-context': 'DICOM_PROTOCOL_BROKEN',
  'protocol-version': 'DICOM_PROTOCOL_BROKEN',
  'too-small': 'DICOM_PROTOCOL_BROKEN',
  'too-many': 'DICOM_TOO_MANY_ASSOCIATIONS',
};

export class Association {
  readonly #socket: Socket;
  readonly #options: AssociationOptions;
  readonly #host: SourceHost;
  readonly #hooks: AssociationHooks;
  readonly #reader: SocketReader;
  readonly #messages: MessageReader;
  readonly #contexts = new Map<number, Context>();
  readonly #openedAt: number;
  #phase: 'negotiating' | 'idle' | 'busy' | 'ending' = 'negotiating';
  #lingersUntil = Number.POSITIVE_INFINITY;
  #unsentSince: number | undefined;
  #closeReason: CloseReason | undefined;
  /** Set once admitted. */
  callingAe: string | undefined;

  constructor(socket: Socket, options: AssociationOptions, host: SourceHost, hooks: AssociationHooks) {
    this.#socket = socket;
    this.#options = options;
    this.#host = host;
    this.#hooks = hooks;
    this.#reader = new SocketReader(socket, host.clock);
    this.#messages = new MessageReader(this.#reader);
    this.#openedAt = host.clock.monotonic();
    const gone = () => this.#reader.fail(new ConnectorError('DICOM_CUT_OFF', { how: 'closed' }));
    socket.on('error', () => socket.destroy());
    socket.on('end', gone);
    socket.once('close', () => {
      gone();
      this.#closed();
    });
  }

  /** Serves until the end. Only a bug rejects it. */
  async serve(): Promise<void> {
    try {
      if (await this.#negotiate()) await this.#serveMessages();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Looks at the clocks; called about once a second. */
  check(): void {
    const now = this.#host.clock.monotonic();
    const { idleMsMax, totalMsMax } = this.#options;
    if (now >= this.#lingersUntil) return this.destroy();
    if (this.#unsentSince !== undefined && now - this.#unsentSince > writeMsMax) return this.#tooSlow('write');
    if (this.#phase === 'ending') return;
    if (this.#phase === 'negotiating' && now - this.#openedAt > artimMsMax) this.#tooSlow('associate');
    else if (now - this.#openedAt > totalMsMax) this.#tooSlow('total');
    else if (this.#reader.starvingMs() > idleMsMax) this.#tooSlow('idle');
  }

  /** Answers the message at hand, takes no other. Harmless twice. */
  finish(): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = 'stopped';
    if (this.#phase !== 'busy') this.#end(encodeAbort(undefined));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #negotiate(): Promise<boolean> {
    const request = readAssociateRequest(await this.#messages.associateRequest());
    if (this.#phase === 'ending') return false;
    const rejection =
      objection(request, this.#options) ?? (this.#hooks.admit(request.callingAe) ? undefined : 'too-many');
    if (rejection) {
      this.#closeReason ??= 'rejected';
      this.#refused(rejectionCodes[rejection], rejection);
      this.#end(encodeReject(rejection));
      return false;
    }
    this.callingAe = request.callingAe;
    this.#accept(request);
    return true;
  }

  #accept(request: AssociateRequest): void {
    const answers = request.contexts.map(answerContext);
    for (const [index, { id, result, transferSyntax }] of answers.entries()) {
      const abstractSyntax = request.contexts[index]?.abstractSyntax ?? '';
      if (result === 'accepted') this.#contexts.set(id, { abstractSyntax, transferSyntax });
    }
    this.#phase = 'idle';
    this.#write(encodeAssociateAccept(request.fixedPart, answers));
    this.#host.report({ name: 'source.connected', source: this.#host.name });
  }

  async #serveMessages(): Promise<void> {
    for (;;) {
      const message = await this.#messages.next();
      if (this.#phase === 'ending') return;
      if (message === 'release' || message === 'abort') return this.#left(message);
      this.#phase = 'busy';
      await this.#serveMessage(message);
      this.#phase = 'idle';
      if (this.#closeReason === 'stopped') return this.#end(encodeAbort(undefined));
    }
  }

  #left(how: 'release' | 'abort'): void {
    this.#closeReason ??= how === 'release' ? 'released' : 'aborted';
    this.#end(how === 'release' ? encodeReleaseReply() : undefined);
  }

  async #serveMessage({ contextId, bytes }: CommandMessage): Promise<void> {
    const context = this.#contexts.get(contextId);
    if (!context) throw broken('bad-context');
    const command = readCommand(bytes);
    const dataSet = command.hasDataSet ? new DataSetReader(this.#messages, contextId) : undefined;
    // Of something that is over by the time it is read; a C-CANCEL has no answer of its own.
    if (command.field === commandFields.cancel) return;
    const status = await this.#perform(command, context, dataSet);
    // One write, and no delay: in pieces it would wait 40 ms for the sender's delayed acknowledgement.
    this.#write(encodeCommandPdu(contextId, encodeResponse(command, status)));
  }

  async #perform(command: Command, context: Context, dataSet: DataSetReader | undefined): Promise<Status> {
    const isEcho = command.field === commandFields.echo && context.abstractSyntax === verification;
    if (isEcho && !dataSet) return 'success';
    if (command.field === commandFields.store && context.abstractSyntax !== verification) {
      return this.#store(command, context, dataSet);
    }
    for (let rest = await dataSet?.read(); rest; rest = await dataSet?.read());
    return 'unrecognizedOperation';
  }

  async #store(command: Command, context: Context, dataSet: DataSetReader | undefined): Promise<Status> {
    const { sopClassUid, sopInstanceUid, moveOriginator } = command;
    if (!dataSet) return 'cannotUnderstand';
    if (!isUid(sopInstanceUid) || !isUid(sopClassUid)) return this.#hooks.store.turnDown(dataSet);
    const { transferSyntax: transferSyntaxUid } = context;
    const arrival = { sopClassUid, sopInstanceUid, transferSyntaxUid, isMoved: moveOriginator !== '' };
    return this.#hooks.store.take(arrival, dataSet);
  }

  #failed(error: unknown): void {
    if (!(error instanceof ConnectorError)) {
      this.destroy();
      throw error;
    }
    if (this.#phase === 'ending') return;
    if (isError(error, 'DICOM_CUT_OFF') && this.#phase !== 'busy') {
      this.#closeReason ??= 'cut';
      return this.#end(undefined);
    }
    const word = String(error.details['fault'] ?? error.details['how'] ?? 'other');
    this.#host.report({ name: 'record.rejected', source: this.#host.name, code: error.code, word });
    this.#closeReason ??= isError(error, 'DICOM_PROTOCOL_BROKEN') ? 'broken' : 'cut';
    this.#end(encodeAbort(isError(error, 'DICOM_PROTOCOL_BROKEN') ? (word as Fault) : undefined));
  }

  /** A peer that makes us wait is told, and closed at once: there is no answer to wait for. */
  #tooSlow(what: 'associate' | 'idle' | 'total' | 'write'): void {
    this.#closeReason ??= 'too-slow';
    this.#refused('DICOM_TOO_SLOW', what);
    this.#phase = 'ending';
    if (this.#socket.writable) this.#socket.write(encodeAbort(undefined));
    this.destroy();
  }

  #end(lastWords: Buffer | undefined): void {
    this.#phase = 'ending';
    this.#reader.discard();
    this.#lingersUntil = this.#host.clock.monotonic() + lingerMs;
    if (!this.#socket.writable) this.destroy();
    else if (lastWords) this.#socket.end(lastWords);
    else this.#socket.end();
  }

  #write(bytes: Buffer): void {
    if (!this.#socket.writable) return;
    this.#unsentSince ??= this.#host.clock.monotonic();
    this.#socket.write(bytes, () => {
      if (this.#socket.writableLength === 0) this.#unsentSince = undefined;
    });
  }

  #refused(code: ErrorCode, word: string): void {
    this.#host.report({ name: 'source.connection-refused', source: this.#host.name, code, word });
  }

  #closed(): void {
    this.#closeReason ??= 'cut';
    this.#lingersUntil = Number.POSITIVE_INFINITY;
    this.#unsentSince = undefined;
    this.#host.report({ name: 'source.connection-closed', source: this.#host.name, word: this.#closeReason });
  }
}
