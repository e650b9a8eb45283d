/** A PACS as one source: an acceptor for what is sent to us and, where it may be asked, a pull. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { formatHostPort, type HostPort } from '../../base/options.ts';
import { ConnectorError, reasonOf } from '../../model/errors.ts';
import type { PollTally, Probe, Progress, Source, SourceHost } from '../../model/ports.ts';
import { type AcceptorOptions, DicomAcceptor } from './acceptor.ts';
import { Pacs, type PacsOptions } from './pacs.ts';
import { missed, Pull, type PullOptions } from './pull.ts';
import { tryListening } from './server.ts';
import { InstanceStore, type StoreOptions } from './store.ts';

export interface DicomOptions extends AcceptorOptions, StoreOptions, PullOptions {
  /** Absent: nothing is asked, only received. */
  readonly pacs?: PacsOptions | undefined;
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
    if (pull) this.poll = (signal, progress) => this.#poll(pull, signal, progress);
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

  async #poll(pull: Pull, signal: AbortSignal, progress: Progress): Promise<PollTally> {
    const run = pull.run(AbortSignal.any([signal, this.#host.signal, this.#stopped.signal]), progress);
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
    const { listen } = this.#options;
    const { port } = this.#acceptor;
    if (this.#pacs) {
      await this.#pacs.echo(this.#host.signal);
      return this.#pacs.address;
    }
    if (port === undefined) {
      await tryListening(listen);
      return formatHostPort(listen);
    }
    const own = { host: reachable(listen.host), port };
    await touch(own);
    return formatHostPort(own);
  }

  /** Breaks off a poll first: what it asked for would arrive at a closed door. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#acceptor.stop();
    await this.#polling;
  }
}

/** An address that stands for all of them is reached through loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** @throws ConnectorError DICOM_UNREACHABLE */
async function touch({ host, port }: HostPort): Promise<void> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect');
  } catch (cause) {
    throw new ConnectorError('DICOM_UNREACHABLE', { host, port, reason: reasonOf(cause) }, { cause });
  } finally {
    socket.destroy();
  }
}
