/* Browsers start no workers for pages that are opened as files. There the search runs in a frame, which this stands for. */
if (location.protocol === "file:") {
  class FrameWorker extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.addEventListener("load", () => {
        this.inside = frame.contentWindow;
        this.waiting.forEach((data) => this.postMessage(data));
      });
      frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = document.createElement("script");
      script.src = address;
      frame.srcdoc =
        "<script>var postMessage = (data) => frameElement.answer(data);" +
        "var importScripts = async (...all) => { for (const src of all) await new Promise((onload, onerror) =>" +
        " document.head.append(Object.assign(document.createElement('script'), { src, onload, onerror }))); };" +
        "<\/script>" + script.outerHTML;
      document.body.append(frame);
    }
    postMessage(data) {
      if (this.inside) this.inside.dispatchEvent(new MessageEvent("message", { data }));
      else this.waiting.push(data);
    }
  }
  window.Worker = window.IFrameWorker = FrameWorker; /* the theme's search looks for the second name */
}
