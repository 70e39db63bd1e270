/** A word from one engine to another. */
export interface Notification {
  /** Whoever the sender says it is. */
  readonly name: string;
  readonly message: string;
}

const notificationCountMax = 4_096;

/** Notifications of peers, in order of arrival, until somebody takes them. */
export class NotificationQueue {
  #waiting: Notification[] = [];

  /** False when there is no room; the sender is told. */
  offer(notification: Notification): boolean {
    if (this.#waiting.length >= notificationCountMax) return false;
    this.#waiting.push(notification);
    return true;
  }

  takeAll(): Notification[] {
    return this.#waiting.splice(0);
  }
}
