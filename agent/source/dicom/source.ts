/** A PACS as one source: an acceptor for what is sent to us and, where it may be asked, a pull. */
import { formatHostPort } from '../../base/options.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { PollOccasion, PollTally, Probe, Progress, Source, SourceHost } from '../../model/ports.ts';
import { type AcceptorOptions, DicomAcceptor, serverCodes } from './acceptor.ts';
import { Pacs, type PacsOptions } from './pacs.ts';
import { missed, Pull, type PullOptions } from './pull.ts';
import { probeListening } from '../peer-server.ts';
import { InstanceStore, type StoreOptions } from './store.ts';

export interface DicomOptions extends AcceptorOptions, StoreOptions, PullOptions {
  /** Absent: nothing is asked, only received. */
  readonly pacs?: PacsOptions | undefined;
}

interface Run {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly asked: PollOccasion | undefined;
}

export class DicomSource implements Source {
  readonly #options: DicomOptions;
  readonly #host: SourceHost;
  readonly #acceptor: DicomAcceptor;
  readonly #pacs: Pacs | undefined;
  #stopped = new AbortController();
  #polling: Promise<unknown> = Promise.resolve();
  /** Only where there is a PACS to ask. */
  readonly poll?: NonNullable<Source['poll']>;

  constructor(options: DicomOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    this.#pacs = options.pacs && new Pacs(options.pacs, host.clock);
    const pull = this.#pacs && new Pull(options, host, this.#pacs);
    if (pull) this.poll = (signal, progress, asked) => this.#poll(pull, { signal, progress, asked });
    const store = new InstanceStore(options, host, {
      taken: (result, route) => {
        if (route === 'c-move') pull?.arrived(result);
      },
      missed: (instance) => missed(instance, host.clock.now()),
    });
    this.#acceptor = new DicomAcceptor(options, host, store);
  }

  /** @throws ConnectorError DICOM_LISTEN_FAILED, FILE_UNREADABLE, DICOM_TLS_UNUSABLE */
  listen(): Promise<{ readonly port: number }> {
    this.#stopped = new AbortController();
    return this.#acceptor.listen();
  }

  async #poll(pull: Pull, { signal, progress, asked = 'by-schedule' }: Run): Promise<PollTally> {
    const run = pull.run(AbortSignal.any([signal, this.#host.signal, this.#stopped.signal]), progress, asked);
    this.#polling = run.catch(() => undefined);
    return run;
  }

  /** A C-ECHO to the PACS where there is one to ask; else whether we are, or could be, reached ourselves. */
  async probe(): Promise<Probe> {
    try {
      return { ok: true, peer: await this.#probe() };
    } catch (error) {
      if (error instanceof ConnectorError) return { ok: false, error };
      throw error;
    }
  }

  async #probe(): Promise<string> {
    if (this.#pacs) {
      await this.#pacs.echo(this.#host.signal);
      return this.#pacs.address;
    }
    return formatHostPort(await probeListening(this.#options.listen, this.#acceptor.port, serverCodes));
  }

  /** Breaks off a poll first: what it asked for would arrive at a closed door. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#acceptor.stop();
    await this.#polling;
  }
}
